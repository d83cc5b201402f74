"""Recomputed activations: the same training in less memory."""

from __future__ import annotations

import weakref

import pytest
import torch
from runs.test_resume import mutual, stopped
from small import digest, digits, fit, offline
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tutelage.errors import ModelError
from tutelage.losses.feature.at import AT
from tutelage.losses.feature.fitnet import FitNet
from tutelage.losses.response.kd import KD
from tutelage.nn.activation_checkpointing import blocks, recompute
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.objective.term import Term

IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Noisy(nn.Module):
    """Batch norm, dropout, an in-place ReLU and power iterations, in four blocks."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.blocks = nn.ModuleList(self.block(3 if i == 0 else 8) for i in range(4))
        self.fc = nn.Linear(8, 10)

    @staticmethod
    def block(inputs: int) -> nn.Sequential:
        conv = nn.utils.parametrizations.spectral_norm(nn.Conv2d(inputs, 8, 3, padding=1))
        return nn.Sequential(conv, nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.3))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((2, 3)))


def own(name: str) -> nn.Module:
    from tutelage import models

    torch.manual_seed(1)
    return models.create(name, classes=10, channels=3, task="classification").model


def timm(name: str) -> nn.Module:
    import timm

    torch.manual_seed(1)
    return timm.create_model(name, num_classes=10)


def steps(model: nn.Module, again: bool, layers: list[str], images: Tensor = IMAGES) -> tuple[list[Tensor], nn.Module]:
    """The gradients of two backwards, through the response and the features of those layers; and the model."""
    tapped = FeatureExtractor(model.train(), layers)
    if again:
        recompute(tapped, images)
    torch.manual_seed(2)
    for _ in range(2):
        said = tapped(images)
        assert list(said.features) == layers
        (said.response.square().sum() + sum(f.square().mean() for f in said.features.values())).backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    return grads, tapped.close()


@pytest.mark.parametrize(
    ("make", "layers"),
    [
        (Noisy, ["blocks.1", "blocks.2.2", "blocks.2:in", "blocks.3.3:in"]),
        (lambda: own("resnet20"), ["layer1", "layer2.0", "layer2.1.bn1", "layer3:in"]),
        (lambda: own("wrn_16_2"), ["layer2.1"]),
        (lambda: own("mobilenetv2"), ["layer2.1", "layer1.1.conv.0"]),
        (lambda: own("shufflenetv2"), ["layer1.0.left"]),
        (lambda: own("vgg8"), ["layer3.1", "layer2:in"]),
        (lambda: timm("test_efficientnet"), ["blocks.1"]),
        (lambda: timm("test_vit"), ["blocks.0", "blocks.1.attn"]),
    ],
    ids=["noisy", "resnet20", "wrn_16_2", "mobilenetv2", "shufflenetv2", "vgg8", "efficientnet", "vit"],
)
def test_gradients_features_and_buffers_are_the_same_to_the_bit(make, layers):
    images = IMAGES if "timm" not in type(make()).__module__ else torch.rand(2, 3, 160, 160)
    (plain, model), (again, other) = (steps(make(), on, layers, images) for on in (False, True))
    assert len(plain) == len(again) > 0
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    assert digest(model) == digest(other)
    assert all("forward" not in vars(m) for m in other.modules())


def test_a_graph_may_be_gone_through_again():
    """As the terms' gradient norms do."""
    found = []
    for again in (False, True):
        tapped = FeatureExtractor(Noisy().train())
        if again:
            recompute(tapped, IMAGES)
        torch.manual_seed(2)
        response, weights = tapped(IMAGES).response, list(tapped.parameters())
        grads = [torch.autograd.grad(response[:, k].sum(), weights, retain_graph=True) for k in range(2)]
        found.append([g for pair in grads for g in pair])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_transformers_use_their_own_switch():
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )

    def make() -> nn.Module:
        torch.manual_seed(1)
        return ViTForImageClassification(config)

    names = [n for n, m in make().named_modules() if type(m).__name__ == "ViTLayer"]
    layers = [names[0], names[1]]
    (plain, _), (again, other) = (steps(make(), on, layers) for on in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    assert not other.is_gradient_checkpointing


# what is divided into blocks


def test_blocks_are_what_repeats():
    assert blocks(own("resnet20"), IMAGES) == [f"layer{i}.{k}" for i in (1, 2, 3) for k in range(3)]
    assert blocks(timm("test_vit"), torch.rand(2, 3, 160, 160))[-2:] == ["blocks.4", "blocks.5"]


def test_a_model_without_blocks_is_refused():
    with pytest.raises(ModelError, match="Linear has no blocks"):
        recompute(FeatureExtractor(nn.Linear(3, 2)), torch.rand(2, 3))


class Overwriting(nn.Module):
    """Overwrites the second block's input, in the block or after it."""

    def __init__(self, within: bool) -> None:
        super().__init__()
        self.within = within
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1), nn.BatchNorm2d(3)) for _ in range(3)))
        self.blocks[1].insert(0, nn.ReLU(inplace=within))

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks[0](x)
        y = self.blocks[1](x)
        x.mul_(1 if self.within else 2)
        return self.blocks[2](x + y).mean((2, 3))


@pytest.mark.parametrize(("within", "error"), [(True, ModelError), (False, (ModelError, RuntimeError))])
def test_a_blocks_input_overwritten_in_place_is_refused(within, error):
    tapped = FeatureExtractor(Overwriting(within))
    recompute(tapped, IMAGES)
    with pytest.raises(error, match=r"block 'blocks.1' is overwritten in place|modified by an inplace operation"):
        tapped(IMAGES).response.sum().backward()


def test_with_compile_it_is_refused():
    with pytest.raises(ValueError, match="the compiler itself chooses"):
        fit(offline(digits(64)), digits(64), recompute=True, compile=True)


# whole trainings


CASES = {
    "features": (lambda data: offline(data, KD() + FitNet() + AT()), {}),
    "layers within": (lambda data: offline(data, [KD(), Term(FitNet(), student="layer2.0:in", teacher="layer2")]), {}),
    "averaged": (offline, {"ema": 0.9}),
    "mutual": (mutual, {}),
    "bf16": (offline, {"precision": "bf16"}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_training_is_the_same_to_the_bit_also_resumed(tmp_path, case):
    make, changes = CASES[case]
    data, changes = digits(64), {"epochs": 2, "checkpoint_every": 0} | changes
    plain = fit(make(data), data, **changes)
    assert digest(fit(make(data), data, recompute=True, **changes)) == digest(plain)
    stopped(make(data), data, tmp_path, 5, recompute=True, **changes)
    again = fit(make(data), data, tmp_path, recompute=True, **changes)
    assert digest(again) == digest(plain)
    assert all("forward" not in vars(m) for m in again.modules())


# memory


class Held(TorchDispatchMode):
    """Bytes of the tensors made within it that are still held, and the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor) and (key := x.untyped_storage()._cdata) not in self.known:
                self.known.add(key)
                self.now += x.untyped_storage().nbytes()
                weakref.finalize(x.untyped_storage(), self.gone, key, x.untyped_storage().nbytes())
        self.most = max(self.most, self.now)
        return out

    def gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def memory(model: nn.Module, again: bool) -> tuple[int, int]:
    """Bytes held after the forward, and the most in forward and backward."""
    tapped, images = FeatureExtractor(model.train()), torch.rand(16, 3, 32, 32)
    if again:
        recompute(tapped, images)
    with Held() as count:
        loss = tapped(images).response.square().sum()
        kept = count.now
        loss.backward()
    return kept, count.most


def test_it_holds_less():
    (kept, most), (kept_again, most_again) = (memory(own("resnet56"), on) for on in (False, True))
    assert kept_again < 0.3 * kept
    assert most_again < 0.45 * most
