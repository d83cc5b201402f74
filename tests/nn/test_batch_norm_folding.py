"""Batch norms folded into the layers before them."""

import copy

import pytest
import torch
from small import digest, net
from torch import nn

from tutelage.errors import ModelError
from tutelage.nn.batch_norm_folding import fold_batch_norms
from tutelage.nn.feature_extractor import run_once

X = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def trained(model: nn.Module) -> nn.Module:
    """Return the model in eval mode, with statistics as after a training."""
    generator = torch.Generator().manual_seed(1)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and m.running_mean is not None:
            for x, low, high in ((m.running_mean, -1, 1), (m.running_var, 0.5, 2)):
                x.uniform_(low, high, generator=generator)
            if m.affine:
                nn.init.uniform_(m.weight, -1, 1, generator=generator)
                nn.init.uniform_(m.bias, -1, 1, generator=generator)
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())


class Cells(nn.Module):
    """Two convolutions with norms, connected by a test's `flow`."""

    def __init__(self, flow) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.flow = flow

    def forward(self, x):
        return self.flow(self, x).mean((2, 3))


def plain(m, x):
    return m.bn2(m.conv2(m.bn1(m.conv1(x)).relu()))


def test_a_network_outputs_the_same_without_its_norms():
    model = trained(net("resnet20"))
    x = torch.randn(6, 1, 16, 16)
    before = model(x).detach()
    assert fold_batch_norms(model, x) == 21
    assert norms(model) == 0
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-4 * float(before.abs().max()))


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: [nn.Linear(5, 4), nn.BatchNorm1d(4)], torch.randn(6, 5)),
        (lambda: [nn.Conv1d(5, 4, 3, bias=False), nn.BatchNorm1d(4, affine=False)], torch.randn(6, 5, 7)),
        (lambda: [nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)], torch.randn(6, 4, 5, 5)),
        (lambda: [nn.Conv3d(2, 4, 2), nn.BatchNorm3d(4)], torch.randn(6, 2, 4, 4, 4)),
    ],
    ids=["linear", "1d", "groups", "3d"],
)
def test_kinds_of_layers(make, x):
    model = trained(nn.Sequential(*make(), nn.Flatten(), nn.LazyLinear(3)))
    before = model(x).detach()
    assert fold_batch_norms(model, x) == 1
    torch.testing.assert_close(model(x), before, rtol=1e-5, atol=1e-5)


STAYS = {
    "its output is also used by a function": lambda m, x: (y := m.conv1(x)) + m.bn1(y),
    "its output is also used by a layer": lambda m, x: (y := m.conv1(x)).sum() + m.bn1(y),
    "a view of its output is used": lambda m, x: m.bn1(y := m.conv1(x)) * y.view(-1)[0],
    "the layer runs twice": lambda m, x: m.bn1(m.conv1(x)) + m.conv1(x),
    "the norm runs twice": lambda m, x: m.bn1(m.conv1(x)) + m.bn1(x.repeat(1, 2, 1, 1)[:, :4]),
    "two norms on one layer": lambda m, x: m.bn1(y := m.conv1(x)) + m.bn2(y),
    "something lies between": lambda m, x: m.bn1(m.conv1(x).relu()),
    "it is changed in place between": lambda m, x: m.bn1(m.conv1(x).relu_()),
    "the norm comes first": lambda m, x: m.conv2(m.bn1(x.repeat(1, 2, 1, 1)[:, :4])),
}


@pytest.mark.parametrize("why", STAYS)
def test_pairs_that_stay(why):
    model = trained(Cells(STAYS[why]))
    before, response = digest(model), model(X)
    assert fold_batch_norms(model, X) == 0
    assert digest(model) == before
    assert torch.equal(model(X), response)


def test_norms_without_statistics_layers_with_hooks_or_two_names_stay():
    model = trained(Cells(plain))
    model.bn1 = nn.BatchNorm2d(4, track_running_stats=False).eval()
    model.conv2.register_forward_hook(lambda m, a, out: 2 * out)
    assert fold_batch_norms(model, X) == 0
    model = trained(Cells(plain))
    model.second_name, model.conv2 = model.conv1, nn.utils.parametrizations.weight_norm(model.conv2)
    assert fold_batch_norms(model, X) == 0


@pytest.mark.parametrize(
    ("kept", "folded"),
    [
        (["bn1"], 2),
        (["conv1:in"], 2),
        (["bn2", "bn1", "conv2:in"], 2),
        (["conv1"], 1),
        (["bn1:in"], 1),
        (["conv1", "bn2:in"], 0),
    ],
)
def test_kept_layers_have_the_same_features(kept, folded):
    model = trained(Cells(plain))
    before = run_once(model, X, kept)
    assert fold_batch_norms(model, X, kept) == folded
    after = run_once(model, X, kept)
    for layer in kept:
        torch.testing.assert_close(after[layer], before[layer], rtol=1e-5, atol=1e-5)


def test_a_kept_container_of_the_layer_prevents_folding():
    model = trained(nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4), nn.Flatten()))
    before = run_once(model, X, ["0"])
    assert fold_batch_norms(copy.deepcopy(model), X) == 1
    assert fold_batch_norms(model, X, ["0"]) == 0
    assert torch.equal(run_once(model, X, ["0"])["0"], before["0"])


def test_a_network_that_uses_its_weights_elsewhere_is_refused():
    model = trained(Cells(lambda m, x: m.bn1(m.conv1(x)) * m.conv1.weight.sum()))
    with pytest.raises(ModelError, match="outputs of Cells differ after its batch norms are folded"):
        fold_batch_norms(model, X)


def test_numbers_that_become_nan_are_refused():
    layer, norm = nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2, eps=0.0)
    with torch.no_grad():
        layer.weight.fill_(1e30)
        norm.running_var.fill_(1e-20)
    x = torch.tensor([[1e-30, 0.0], [2e-30, 0.0]])  # the folded weight is infinite, and infinity times 0 is NaN
    with pytest.raises(ModelError, match="differ after its batch norms are folded"):
        fold_batch_norms(nn.Sequential(layer, norm).eval(), x)


def test_nan_that_the_network_outputs_anyway_is_no_refusal():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()
    assert fold_batch_norms(model, torch.tensor([[1.0, 2.0], [torch.nan, 1.0]])) == 1


def test_train_mode_is_refused():
    with pytest.raises(ModelError, match="train mode"):
        fold_batch_norms(Cells(plain), X)


def test_memory_layout_and_requires_grad_stay():
    model = trained(Cells(plain)).requires_grad_(False).to(memory_format=torch.channels_last)
    fold_batch_norms(model, X)
    assert model.conv2.weight.is_contiguous(memory_format=torch.channels_last)
    assert not any(p.requires_grad for p in model.parameters())
