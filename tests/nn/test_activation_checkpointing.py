"""Activation checkpointing trains bitwise identically in less memory."""

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
from tutelage.nn.activation_checkpointing import enable_checkpointing, find_blocks
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.objective.term import Term

IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Noisy(nn.Module):
    """A model of four blocks with batch norm, dropout, an in-place ReLU and power iterations."""

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


def built_in(name: str) -> nn.Module:
    from tutelage import models

    torch.manual_seed(1)
    return models.create(name, classes=10, channels=3, task="classification").model


def timm(name: str) -> nn.Module:
    import timm

    torch.manual_seed(1)
    return timm.create_model(name, num_classes=10)


def steps(
    model: nn.Module, recomputed: bool, layers: list[str], images: Tensor = IMAGES
) -> tuple[list[Tensor], nn.Module]:
    """Return the gradients of two backward passes, through the response and these layers' features, and the model."""
    extractor = FeatureExtractor(model.train(), layers)
    if recomputed:
        enable_checkpointing(extractor, images)
    torch.manual_seed(2)
    for _ in range(2):
        outputs = extractor(images)
        assert list(outputs.features) == layers
        (outputs.response.square().sum() + sum(f.square().mean() for f in outputs.features.values())).backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    return grads, extractor.close()


@pytest.mark.parametrize(
    ("make", "layers"),
    [
        (Noisy, ["blocks.1", "blocks.2.2", "blocks.2:in", "blocks.3.3:in"]),
        (lambda: built_in("resnet20"), ["layer1", "layer2.0", "layer2.1.bn1", "layer3:in"]),
        (lambda: built_in("wrn_16_2"), ["layer2.1"]),
        (lambda: built_in("mobilenetv2"), ["layer2.1", "layer1.1.conv.0"]),
        (lambda: built_in("shufflenetv2"), ["layer1.0.left"]),
        (lambda: built_in("vgg8"), ["layer3.1", "layer2:in"]),
        (lambda: timm("test_efficientnet"), ["blocks.1"]),
        (lambda: timm("test_vit"), ["blocks.0", "blocks.1.attn"]),
    ],
    ids=["noisy", "resnet20", "wrn_16_2", "mobilenetv2", "shufflenetv2", "vgg8", "efficientnet", "vit"],
)
def test_gradients_features_and_buffers_are_bitwise_identical(make, layers):
    images = IMAGES if "timm" not in type(make()).__module__ else torch.rand(2, 3, 160, 160)
    (plain, model), (recomputed, recomputed_model) = (steps(make(), on, layers, images) for on in (False, True))
    assert len(plain) == len(recomputed) > 0
    assert all(torch.equal(a, b) for a, b in zip(plain, recomputed, strict=True))
    assert digest(model) == digest(recomputed_model)
    assert all("forward" not in vars(m) for m in recomputed_model.modules())


def test_a_graph_can_be_traversed_twice():
    """The gradient norms of terms do so."""
    gradients = []
    for recomputed in (False, True):
        extractor = FeatureExtractor(Noisy().train())
        if recomputed:
            enable_checkpointing(extractor, IMAGES)
        torch.manual_seed(2)
        response, weights = extractor(IMAGES).response, list(extractor.parameters())
        grads = [torch.autograd.grad(response[:, k].sum(), weights, retain_graph=True) for k in range(2)]
        gradients.append([g for pair in grads for g in pair])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


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
    (plain, _), (recomputed, recomputed_model) = (steps(make(), on, layers) for on in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(plain, recomputed, strict=True))
    assert not recomputed_model.is_gradient_checkpointing


# the division into blocks


def test_blocks_are_the_repeated_modules():
    assert find_blocks(built_in("resnet20"), IMAGES) == [f"layer{i}.{k}" for i in (1, 2, 3) for k in range(3)]
    assert find_blocks(timm("test_vit"), torch.rand(2, 3, 160, 160))[-2:] == ["blocks.4", "blocks.5"]


def test_a_model_without_blocks_is_refused():
    with pytest.raises(ModelError, match="Linear has no blocks"):
        enable_checkpointing(FeatureExtractor(nn.Linear(3, 2)), torch.rand(2, 3))


class Overwriting(nn.Module):
    """A model that overwrites the second block's input, in the block or after it."""

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
    extractor = FeatureExtractor(Overwriting(within))
    enable_checkpointing(extractor, IMAGES)
    with pytest.raises(error, match=r"block 'blocks.1' is overwritten in place|modified by an inplace operation"):
        extractor(IMAGES).response.sum().backward()


def test_recompute_with_compile_is_refused():
    with pytest.raises(ValueError, match="the compiler itself chooses"):
        fit(offline(digits(64)), digits(64), recompute=True, compile=True)


# trainings


CASES = {
    "features": (lambda data: offline(data, KD() + FitNet() + AT()), {}),
    "layers within": (lambda data: offline(data, [KD(), Term(FitNet(), student="layer2.0:in", teacher="layer2")]), {}),
    "averaged": (offline, {"ema": 0.9}),
    "mutual": (mutual, {}),
    "bf16": (offline, {"precision": "bf16"}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_training_is_bitwise_identical_also_resumed(tmp_path, case):
    make, changes = CASES[case]
    data, changes = digits(64), {"epochs": 2, "checkpoint_every": 0} | changes
    plain = fit(make(data), data, **changes)
    assert digest(fit(make(data), data, recompute=True, **changes)) == digest(plain)
    stopped(make(data), data, tmp_path, 5, recompute=True, **changes)
    recomputed = fit(make(data), data, tmp_path, recompute=True, **changes)
    assert digest(recomputed) == digest(plain)
    assert all("forward" not in vars(m) for m in recomputed.modules())


# memory


class LiveBytes(TorchDispatchMode):
    """A counter of the bytes of live tensors created inside the context, and their maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.current = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor) and (key := x.untyped_storage()._cdata) not in self.known:
                self.known.add(key)
                self.current += x.untyped_storage().nbytes()
                weakref.finalize(x.untyped_storage(), self.release, key, x.untyped_storage().nbytes())
        self.peak = max(self.peak, self.current)
        return out

    def release(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.current -= size


def memory(model: nn.Module, recomputed: bool) -> tuple[int, int]:
    """Return the bytes held after the forward, and the peak in forward and backward."""
    extractor, images = FeatureExtractor(model.train()), torch.rand(16, 3, 32, 32)
    if recomputed:
        enable_checkpointing(extractor, images)
    with LiveBytes() as count:
        loss = extractor(images).response.square().sum()
        kept = count.current
        loss.backward()
    return kept, count.peak


def test_it_needs_less_memory():
    (kept, peak), (kept_recomputed, peak_recomputed) = (memory(built_in("resnet56"), on) for on in (False, True))
    assert kept_recomputed < 0.3 * kept
    assert peak_recomputed < 0.45 * peak
