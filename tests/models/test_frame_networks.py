"""Networks of clips: on each frame, residual ones of three dimensions, and torchvision's."""

from __future__ import annotations

import pytest
import torch

from tutelage import models
from tutelage.errors import ConfigError
from tutelage.models.loading import form_of
from tutelage.models.providers import published_name
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.nn.model_profile import pair_stages, profile_model
from tutelage.structures import Batch


def test_a_frame_network_is_the_mean_over_the_frames():
    torch.manual_seed(0)
    network = models.create("frames:resnet8", classes=4, size=(5, 16, 16)).model.eval()
    x = torch.randn(3, 3, 5, 16, 16)
    layers = ["network.layer2", "network.fc:in", "network.fc"]
    outputs = FeatureExtractor(network, layers)(x)
    frames = FeatureExtractor(network.network, ["layer2", "fc:in"])
    alone = [frames(x[:, :, t]) for t in range(5)]
    assert torch.allclose(outputs.response, torch.stack([o.response for o in alone]).mean(0), atol=1e-5)
    assert torch.allclose(outputs["network.layer2"], torch.stack([o["layer2"] for o in alone], 2), atol=1e-5)
    assert torch.allclose(outputs["network.fc:in"], torch.stack([o["fc:in"] for o in alone]).mean(0), atol=1e-5)
    assert torch.allclose(outputs["network.fc"], outputs.response, atol=1e-5)


def test_its_stages_pair_with_those_of_a_network_of_three_dimensions():
    x = Batch(torch.randn(2, 3, 8, 16, 16))
    frame_wise, whole = (
        profile_model(models.create(name, classes=4, size=(8, 16, 16)).model, x)
        for name in ("frames:resnet8", "r3d10-4")
    )
    assert [stage.shape for stage in frame_wise.stages] == [(16, 8, 16, 16), (32, 8, 8, 8), (64, 8, 4, 4)]
    assert [stage.shape for stage in whole.stages] == [(4, 8, 16, 16), (8, 4, 8, 8), (16, 2, 4, 4), (32, 1, 2, 2)]
    assert (frame_wise.embedding, whole.embedding) == ("network.fc:in", "fc:in")
    assert [b.name for _, b in pair_stages(frame_wise.stages, whole.stages)] == ["layer1", "layer2", "layer3"]


def test_tokens_of_the_frames_follow_each_other_and_maps_of_them_have_time():
    network = models.create("frames:timm:vit_tiny_patch16_224", classes=4, size=(3, 32, 32)).model.eval()
    x = torch.randn(2, 3, 3, 32, 32)
    block = "network.blocks.3"
    names = [block, f"{block}:map", f"{block}:patches"]
    outputs = FeatureExtractor(network, names)(x)
    assert [tuple(outputs[name].shape) for name in names] == [(2, 15, 192), (2, 192, 3, 2, 2), (2, 12, 192)]
    assert outputs[names[1]].flatten(2).mT.allclose(outputs[names[2]])
    swin = models.create("frames:timm:swin_tiny_patch4_window7_224", classes=4, size=(2, 56, 56)).model
    profile = profile_model(swin, Batch(torch.randn(2, 3, 2, 56, 56)))
    assert profile.stages[0].shape == (96, 2, 14, 14), "channels first"


def test_vectors_without_a_classifier():
    for name in ("frames:cnn4", "r3d10-4"):
        network = models.create(name, classes=0, channels=1, size=(4, 8, 8)).model
        assert network(torch.randn(2, 1, 4, 8, 8)).dim() == 2


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18"])
def test_torchvisions_networks_of_clips(name):
    with torch.device("meta"):
        model = models.create(f"torchvision:{name}", classes=5, channels=1).model
        assert model(torch.zeros(1, 1, 4, 32, 32, device="meta")).shape == (1, 5)
    with pytest.raises(ConfigError, match="is a network for clips or voxels, and the inputs are images of 8×8"):
        models.create(f"torchvision:{name}", classes=5, size=(8, 8))
    assert form_of(f"torchvision:{name}:DEFAULT")[0] == form_of("frames:torchvision:resnet18")[0] == 3


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("frames:resnet8", (8, 8), "is a network for clips or voxels, and the inputs are images of 8×8"),
        ("frames:conv1d-3-8", (4, 8, 8), "is a network for series or points, and the inputs are images of 8×8"),
        ("frames:nothing", (4, 8, 8), "unknown model 'nothing'"),
        ("resnet8", (4, 8, 8), "inputs are clips or voxels of 4×8×8: use r3d10-8"),
        ("torchvision:resnet18", (4, 8, 8), "is a network for images, and the inputs are clips or voxels"),
        ("r3d11-8", (4, 8, 8), "expected a depth of 8n"),
        ("r3d10-0", (4, 8, 8), "a width of 1 or more"),
    ],
)
def test_what_doesnt_fit_is_refused(name, size, message):
    with pytest.raises(ConfigError, match=message):
        models.create(name, classes=3, size=size)


def test_published_weights_are_those_of_the_network_of_images():
    assert published_name("frames:torchvision:resnet18") == "frames:torchvision:resnet18:DEFAULT"
