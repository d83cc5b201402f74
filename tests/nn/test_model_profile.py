"""Stages, embeddings and the pairing of two models' layers."""

import itertools

import pytest
import torch
from small import Plain, net
from torch import Tensor, nn

from tutelage import models
from tutelage.errors import ModelError
from tutelage.nn.model_profile import ModelProfile, pair_stages, profile_model, trace_layers
from tutelage.nn.stages import LayerInfo
from tutelage.structures import Batch


def profile(model: nn.Module, side: int, channels: int = 3) -> ModelProfile:
    return profile_model(model, Batch(torch.zeros(2, channels, side, side)))


def names(result: ModelProfile) -> list[str]:
    return [layer.name for layer in result.stages]


@pytest.mark.parametrize(
    ("name", "stages", "embedding"),
    [
        ("resnet20", ["layer1", "layer2", "layer3"], "fc:in"),
        ("resnet8x4", ["layer1", "layer2", "layer3"], "fc:in"),
        ("wrn_16_2", ["layer1", "layer2", "layer3"], "fc:in"),
        ("vgg8", ["layer1", "layer2", "layer3", "layer5"], "classifier:in"),
        ("mobilenetv2_half", ["layer1", "layer2", "layer3", "conv2"], "classifier:in"),
        ("shufflenetv1", ["layer1", "layer2", "layer3"], "fc:in"),
        ("shufflenetv2", ["layer1", "layer2", "layer3"], "fc:in"),
        ("cnn8", ["layer1", "layer2", "layer3"], "fc:in"),
    ],
)
def test_built_in_networks(name, stages, embedding):
    result = profile(models.create(name, classes=10).model, 32)
    assert (names(result), result.embedding) == (stages, embedding)


@pytest.mark.parametrize("depth", [2, 3])
def test_blocks_are_stages_not_the_layers_within(depth):
    result = profile_model(models.create(f"tcn-{depth}-4", classes=4, channels=1).model, Batch(torch.zeros(2, 1, 24)))
    assert names(result) == [f"layer{k + 1}" for k in range(depth)]


def test_a_segmentation_networks_decoder_begins_no_stage():
    result = profile(models.create("seg8", classes=4, task="segmentation").model, 32)
    assert names(result) == ["layer1", "layer2", "layer3", "layer4"]


@pytest.mark.parametrize(
    ("name", "options", "side", "stages", "embedding"),
    [
        ("resnet18", {}, 64, ["layer1", "layer2", "layer3", "layer4"], "fc:in"),
        ("mobilenetv3_small_050", {}, 64, ["blocks.0", "blocks.1", "blocks.3", "blocks.5"], "classifier:in"),
        ("regnetx_002", {}, 64, ["s1", "s2", "s3", "s4"], "head.fc:in"),
        ("convnext_atto", {}, 64, [f"stages.{i}" for i in range(4)], "head.fc:in"),
        (
            "vit_tiny_patch16_224",
            {"img_size": 32, "patch_size": 4},
            32,
            ["blocks.2", "blocks.5", "blocks.8", "blocks.11"],
            "head:in",
        ),
        (
            "swin_tiny_patch4_window7_224",
            {"img_size": 56, "embed_dim": 24, "depths": (1, 1, 2, 1)},
            56,
            [f"layers.{i}" for i in range(4)],
            "head.fc:in",
        ),
    ],
)
def test_timm_networks(name, options, side, stages, embedding):
    import timm

    result = profile(timm.create_model(name, num_classes=5, **options), side)
    assert (names(result), result.embedding) == (stages, embedding)


@pytest.mark.parametrize(
    ("name", "stages", "embedding"),
    [
        ("resnet18", ["layer1", "layer2", "layer3", "layer4"], "fc:in"),
        ("mobilenet_v3_small", ["features.1", "features.3", "features.8", "features.12"], "classifier.3:in"),
        ("squeezenet1_0", ["features.5", "features.10", "features.12"], "features.12"),
    ],
)
def test_torchvision_networks(name, stages, embedding):
    import torchvision

    result = profile(getattr(torchvision.models, name)(weights=None, num_classes=5), 64)
    assert (names(result), result.embedding) == (stages, embedding)


def test_a_plain_sequence_ends_before_each_reduction():
    layers = [nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU(True), nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU(True), nn.Flatten()]
    result = profile(nn.Sequential(*layers, nn.Linear(128, 5)), 8)
    assert (names(result), result.embedding) == (["1", "3"], "5:in")


def test_an_overwritten_layer_ends_no_stage():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4))
            self.relu = nn.ReLU(inplace=True)
            self.b = nn.Conv2d(4, 4, 3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.relu(self.a(x))).mean((2, 3))

    assert names(profile(Net(), 8)) == ["relu", "b"]


def test_layers_are_listed_as_they_finish_with_shapes_and_calls():
    class Twice(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.layer2(self.layer1(x)).mean((2, 3))) + self.layer1(x).mean()

    layers = {layer.name: layer for layer in trace_layers(Twice(), torch.zeros(3, 1, 8, 8))}
    assert layers["layer1"].calls == 2
    assert (layers["layer2"].shape, layers["layer2"].kind, layers["layer2"].grid) == ((8, 4, 4), "Sequential", 16)
    assert layers["layer1"].stage is None
    assert 0 < layers["layer2"].depth < layers["layer1"].depth == 1


def test_a_profile_gives_any_layer_and_changes_nothing():
    model = net("cnn2")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = profile(model, 8, 1)
    assert result.feature("fc:in").shape == (2, 8)
    assert result.response.shape == (2, 10)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


def ladder(*grids: int) -> list[LayerInfo]:
    n = len(grids)
    return [LayerInfo(f"s{i}", "Conv2d", (4, g, g), (i + 1) / n, stage=i) for i, g in enumerate(grids)]


def paired(student: list[LayerInfo], teacher: list[LayerInfo]) -> list[tuple[str, str]]:
    return [(s.name, t.name) for s, t in pair_stages(student, teacher)]


def test_equal_numbers_of_stages_pair_in_order():
    assert paired(ladder(32, 16, 8), ladder(28, 14, 7)) == [("s0", "s0"), ("s1", "s1"), ("s2", "s2")]


def test_resolution_decides_which_stage_is_left_out():
    assert paired(ladder(32, 16, 8), ladder(32, 16, 8, 4)) == [("s0", "s0"), ("s1", "s1"), ("s2", "s2")]
    assert paired(ladder(64, 32, 16, 8), ladder(16, 8)) == [("s2", "s0"), ("s3", "s1")]


def test_depth_decides_where_all_resolutions_agree():
    assert paired(ladder(8, 8), ladder(8, 8, 8, 8)) == [("s0", "s1"), ("s1", "s3")]


@pytest.mark.parametrize(("fewer", "more"), [((32, 8), (64, 32, 16, 8, 4)), ((4, 4, 4, 4), (32, 16, 8, 4, 2, 1))])
def test_pairs_go_up_on_both_sides(fewer, more):
    for student, teacher in ((fewer, more), (more, fewer)):
        pairs = paired(ladder(*student), ladder(*teacher))
        assert len(pairs) == len(fewer)
        assert all(a < c and b < d for (a, b), (c, d) in itertools.pairwise(pairs))


def test_a_vit_pairs_with_a_cnn_by_depth():
    import timm

    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=4, embed_dim=12, num_heads=2, num_classes=5)
    pairs = pair_stages(profile(models.create("resnet8", classes=5).model, 32).stages, profile(vit, 32).stages)
    assert [s.name for s, _ in pairs] == ["layer1", "layer2", "layer3"]
    assert [t.name for _, t in pairs] == sorted((t.name for _, t in pairs), key=lambda n: int(n.split(".")[1]))


def test_a_model_without_stages_needs_named_layers():
    class Rule(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    result = profile(Rule(), 8)
    assert (result.stages, result.embedding) == ([], "")
    with pytest.raises(ModelError, match="the teacher has no stage; name its layers"):
        pair_stages(ladder(8), result.stages)


@pytest.mark.parametrize("first", [nn.ReLU(inplace=True), nn.Hardswish(inplace=True)])
def test_an_input_that_is_overwritten_is_refused(first):
    model = nn.Sequential(first, nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(ModelError, match="Sequential overwrites its input in place"):
        profile_model(model, Batch(torch.randn(2, 1, 4, 4)))
