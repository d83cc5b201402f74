"""Branches of any network on a shared trunk."""

from __future__ import annotations

import copy

import pytest
import torch
from small import Plain, digest, net
from torch import Tensor, nn

from tutelage import models
from tutelage.errors import ModelError
from tutelage.nn.shared_trunk import Branches


class Counted(Plain):
    """A network that counts the real computations of its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = {"layer1": 0, "layer2": 0}
        for name in self.calls:
            conv = self.get_submodule(name)[0]
            plain = conv._conv_forward

            def forward(*args, name=name, plain=plain):
                self.calls[name] += 1
                return plain(*args)

            conv._conv_forward = forward


class Tokens(nn.Module):
    """A network with a parameter before the split, functional steps, and one layer used on both sides of it."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.embed, self.mix = nn.Linear(8, 6), nn.Linear(6, 6)
        self.block = nn.Linear(6, 6)
        self.after = nn.Parameter(torch.randn(6))
        self.head = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), 1, 6), self.embed(x[:, 0]) * self.after], dim=1)
        x = torch.tanh(self.mix(x))
        return self.head(torch.tanh(self.mix(torch.tanh(self.block(x)))).mean(1))


class Skip(nn.Module):
    """A network with a skip connection round the split."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(n, 4, 3, padding=1) for n in (1, 4, 4))
        self.fc = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        early = torch.tanh(self.a(x))
        late = torch.tanh(self.b(early))
        return self.fc((torch.tanh(self.c(late)) + early).mean((2, 3)))


class Overwriting(Skip):
    """A network whose branch changes its input in place, differently each time."""

    def forward(self, x: Tensor) -> Tensor:
        late = self.b(self.a(x))
        late += 1
        return self.fc(self.c(late).mean((2, 3)))


def branches(make, count=3, split="auto", x=None, gradient=1.0) -> Branches:
    networks = {}
    for k in range(count):
        torch.manual_seed(k)
        networks[f"peer{k}"] = make()
    network = Branches(networks, gradient)
    network.share_trunk(torch.randn(2, 1, 8, 8) if x is None else x, split)
    return network


def by_hand(network: Branches, x: Tensor) -> list[Tensor]:
    """Run every branch as a separate network."""
    return [student(x).response for student in network.extractors().values()]


def gradients(network: Branches, responses: list[Tensor]) -> dict[str, Tensor]:
    network.zero_grad()
    sum((k + 1) * r.square().sum() for k, r in enumerate(responses)).backward()
    return {name: p.grad.clone() for name, p in network.named_parameters()}


@pytest.mark.parametrize(
    ("make", "split"),
    [(Plain, "auto"), (Plain, "fc"), (Tokens, "block"), (Skip, "c"), (lambda: net("cnn2"), "auto")],
    ids=["stages", "head", "tokens", "skip", "batch norm"],
)
def test_outputs_and_gradients_equal_those_of_separate_networks(make, split):
    network, x = branches(make, split=split), torch.randn(5, 1, 8, 8)
    network.eval()
    shared = [outputs.response for outputs in network(x)]
    torch.testing.assert_close(shared, by_hand(network, x))
    torch.testing.assert_close(gradients(network, shared), gradients(network, by_hand(network, x)))


def test_the_trunk_runs_once_and_each_branch_once():
    network, x = branches(Counted), torch.randn(5, 1, 8, 8)
    models_ = [student.model for student in network.extractors().values()]
    before = [dict(m.calls) for m in models_]
    network.train()(x)
    after = [{n: m.calls[n] - b[n] for n in b} for m, b in zip(models_, before, strict=True)]
    assert after == [{"layer1": 1, "layer2": 1}, {"layer1": 0, "layer2": 1}, {"layer1": 0, "layer2": 1}]


def test_the_trunks_batch_norm_sees_each_batch_once():
    network, x = branches(lambda: net("cnn2")), torch.randn(5, 1, 8, 8)
    first = next(iter(network.extractors().values())).model
    network.train()(x)
    assert first.layer1[1].num_batches_tracked == first.layer3[1].num_batches_tracked == 1


def test_the_gradient_is_scaled_only_where_branches_meet():
    plain, scaled = branches(Plain), branches(Plain, gradient=1 / 3)
    x = torch.randn(5, 1, 8, 8)
    a, b = (gradients(f, [outputs.response for outputs in f(x)]) for f in (plain, scaled))
    for name, gradient in a.items():
        torch.testing.assert_close(b[name], gradient / 3 if ".layer1." in name else gradient)


def test_branches_start_with_different_parameters():
    first, second = (s.model for s in branches(Plain, 2).extractors().values())
    assert first.layer1 is second.layer1
    assert not torch.equal(first.layer2[0].weight, second.layer2[0].weight)
    original = Plain()
    copies = Branches({"a": original, "b": copy.deepcopy(original), "c": copy.deepcopy(original)})
    copies.share_trunk(torch.randn(2, 1, 8, 8))
    heads = [s.model.fc.weight for s in copies.extractors().values()]
    assert heads[0] is original.fc.weight
    assert not any(torch.equal(heads[i], heads[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_a_parameter_outside_layers_is_shared_if_used_before_the_split():
    first, second = (s.model for s in branches(Tokens, 2, "block").extractors().values())
    assert first.token is second.token
    assert first.after is second.after
    assert first.head is not second.head


def test_each_branch_remains_a_plain_network():
    network = branches(Plain, 2)
    network.train()(torch.randn(5, 1, 8, 8))
    for student in network.extractors().values():
        model = student.close()
        assert not any("forward" in vars(m) or m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        reloaded = Plain()
        reloaded.load_state_dict(model.state_dict())
        assert digest(reloaded) == digest(model)


@pytest.mark.parametrize(
    ("name", "split"),
    [("resnet8", "layer3"), ("vgg8", "layer4"), ("mobilenetv2", "layer4"), ("shufflenetv2", "layer3")],
)
def test_the_last_stage_and_the_head_are_the_branch(name, split):
    x = torch.randn(2, 3, 32, 32)
    assert branches(lambda: models.create(name, classes=10, channels=3).model, 2, x=x).split == split


@pytest.mark.parametrize(
    ("make", "split", "message"),
    [
        (Plain, "layr2", "did you mean 'layer2'"),
        (Plain, "layer1", "no layer runs before it"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "auto", "name"),
        (Overwriting, "c", "outputs change when they share"),
    ],
)
def test_an_impossible_split_is_refused(make, split, message):
    with pytest.raises(ModelError, match=message):
        branches(make, split=split)


def test_two_architectures_share_no_trunk():
    with pytest.raises(ModelError, match="need one architecture"):
        Branches({"a": Plain(), "b": Plain(width=6)}).share_trunk(torch.randn(2, 1, 8, 8))
