"""The token grids that vision transformers declare for their images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from torch import Tensor, nn

from tutelage import AT, RKD, Batch, Classification, Frozen, Player, Terms
from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.nn.feature_extractor import run_once
from tutelage.nn.model_profile import profile_model
from tutelage.nn.token_grid import Grid, declared_grid, module_name, split_layer_name

SMALL = {
    "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "image_size": (8, 32), "patch_size": 4, "num_channels": 3, "num_labels": 5,
}  # fmt: skip


def of_timm(name: str, **options: Any) -> nn.Module:
    small = {"img_size": (8, 32), "patch_size": 4, "embed_dim": 12, "depth": 2, "num_heads": 2, "num_classes": 5}
    return timm.create_model(name, **small | options)


def of_hugging_face(name: str, **options: Any) -> nn.Module:
    config = getattr(transformers, f"{name}Config")(**SMALL | options)
    return getattr(transformers, f"{name}ForImageClassification")(config)


def of_torchvision() -> nn.Module:
    return torchvision.models.VisionTransformer(16, 4, 2, 2, 12, 24, num_classes=5)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, Grid]] = {
    "timm, class token": (lambda: of_timm("vit_tiny_patch16_224"), "blocks.1", Grid(2, 8, 1)),
    "timm, no prefix": (lambda: of_timm("vit_tiny_patch16_224", class_token=False, global_pool="avg"), "blocks.1",
                        Grid(2, 8)),
    "timm, registers": (lambda: of_timm("vit_tiny_patch16_224", reg_tokens=4), "blocks.1", Grid(2, 8, 5)),
    "timm, distilled": (lambda: of_timm("deit_tiny_distilled_patch16_224"), "blocks.1", Grid(2, 8, 2)),
    "timm, eva": (lambda: of_timm("eva02_tiny_patch14_224", num_heads=1, embed_dim=16), "blocks.1", Grid(2, 8, 1)),
    "timm, any size": (lambda: of_timm("vit_tiny_patch16_224", img_size=16, dynamic_img_size=True), "blocks.1",
                       Grid(2, 8, 1)),
    "Hugging Face, ViT": (lambda: of_hugging_face("ViT"), "vit.layernorm", Grid(2, 8, 1)),
    "Hugging Face, DeiT": (lambda: of_hugging_face("DeiT"), "deit.layernorm", Grid(2, 8, 2)),
    "Hugging Face, DINOv2": (lambda: of_hugging_face("Dinov2", image_size=32), "dinov2.layernorm", Grid(2, 8, 1)),
    "Hugging Face, registers": (lambda: of_hugging_face("Dinov2WithRegisters", num_register_tokens=3, image_size=32),
                                "dinov2_with_registers.layernorm", Grid(2, 8, 4)),
    "torchvision": (of_torchvision, "encoder.ln", Grid(4, 4, 1)),
}  # fmt: skip


def images(grid: Grid, count: int = 4) -> Tensor:
    return torch.randn(count, 3, 4 * grid.height, 4 * grid.width)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_grid_is_the_declared_one(name: str) -> None:
    make, layer, grid = NETWORKS[name]
    network, x = make(), images(grid)
    assert declared_grid(network, x) == grid
    layers = [layer, f"{layer}:map", f"{layer}:patches", f"{layer}:{grid}"]
    plain, mapped, patches, explicit = run_once(network, x, layers).features.values()
    assert plain.shape[1] == grid.prefix + grid.height * grid.width
    assert torch.equal(patches, plain[:, grid.prefix :])
    assert mapped.shape == (4, plain.shape[2], grid.height, grid.width)
    assert torch.equal(mapped[:, :, 1, 2], plain[:, grid.prefix + grid.width + 2])
    assert torch.equal(explicit, mapped)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("loss", [AT(), RKD()])
def test_losses_get_patches_at_their_positions(name: str, loss: Loss) -> None:
    make, layer, grid = NETWORKS[name]
    batch, task = Batch(images(grid), torch.tensor([0, 1, 2, 3])), Classification()
    teacher = Frozen(make().eval(), task)
    terms = Terms.from_method(
        [{"name": type(loss).__name__.lower(), "student": layer, "teacher": layer, "weight": 1.0}]
    )
    player = Player(make(), terms, task)
    player.wire(teacher.profile(batch), batch, 4)
    (term,) = player.terms.named_terms().values()
    assert {split_layer_name(x)[0] for x in (*term.student_layers, *term.teacher_layers)} == {layer}
    sum(player(batch, teacher(batch, player.teacher_layers())).values()).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in player.student.parameters())


class Own(nn.Module):
    """A network of tokens of unknown order: eight numbers per sample, each a token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.fc = nn.Linear(1, 6), nn.Linear(6, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.mix(self.embed(x.flatten(1)[:, :16, None]))
        return self.fc(tokens.mean(1))


def test_an_undeclared_grid_is_an_error_with_its_mend() -> None:
    network, x = Own(), images(Grid(2, 8))
    assert declared_grid(network, x) is None
    with pytest.raises(
        ConfigError, match=r"layer 'mix' outputs tokens \(4, 16, 6\), and Own doesn't declare .* LAYER:7x7"
    ):
        run_once(network, x, ["mix:map"])
    assert run_once(network, x, ["mix:2x8"])["mix:2x8"].shape == (4, 6, 2, 8)
    assert run_once(network, x, ["mix:patches"])["mix:patches"].shape == (4, 16, 6)


class Recurrent(nn.Module):
    """Tokens (B, T, C) of the steps of a series (B, C, T)."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.fc = nn.GRU(3, 6, batch_first=True), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.gru(x.mT)[0].mean(1))


def test_the_map_of_a_series_tokens_has_its_steps() -> None:
    network, x = Recurrent(), torch.randn(2, 3, 7)
    tokens = run_once(network, x, ["gru:0"])["gru:0"]
    assert run_once(network, x, ["gru:0:map"])["gru:0:map"].equal(tokens.mT)
    with pytest.raises(ConfigError, match="doesn't declare their grid"):
        run_once(network, x, ["gru:1:map"])  # the last state isn't one for each step


@pytest.mark.parametrize("form", ["4x4", "2x8+2", "0x8+1"])
def test_a_wrong_grid_is_refused(form: str) -> None:
    make, layer, grid = NETWORKS["timm, class token"]
    with pytest.raises(ConfigError, match=f"layer '{layer}': 17 tokens"):
        run_once(make(), images(grid), [f"{layer}:{form}"])


def test_a_map_has_no_tokens() -> None:
    network, x = torchvision.models.resnet18(num_classes=5), torch.randn(2, 3, 32, 32)
    assert torch.equal(run_once(network, x, ["layer1:map"])["layer1:map"], run_once(network, x, ["layer1"])["layer1"])
    with pytest.raises(ConfigError, match="4x4 is a grid of tokens"):
        run_once(network, x, ["layer1:4x4"])


def test_names() -> None:
    assert split_layer_name("blocks.3:in:map") == ("blocks.3:in", "map")
    assert split_layer_name("blocks.3:in") == ("blocks.3:in", "")
    assert module_name("blocks.3:in:2x8+1") == "blocks.3"
    profile = profile_model(of_timm("vit_tiny_patch16_224"), Batch(images(Grid(2, 8))))
    assert profile.name_with_form("blocks.1", "map") == "blocks.1:map"
    assert profile.name_with_form("blocks.1:2x8+1", "map") == "blocks.1:2x8+1"
    assert profile.name_with_form("patch_embed.proj", "map") == "patch_embed.proj"
