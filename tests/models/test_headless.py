"""Networks without a classifier: every source's response is its pooled embedding, and weights with one still load."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from tutelage import models
from tutelage.errors import ConfigError, ModelError
from tutelage.models.providers import published_name
from tutelage.nn.feature_extractor import compute_response


@pytest.mark.parametrize(
    ("name", "width"),
    [("timm:test_vit", 64), ("torchvision:squeezenet1_1", None), ("torchvision:mobilenet_v3_small", 1024),
     ("torchvision:resnet18", 512), ("resnet8", 64), ("cnn4", None)],
)  # fmt: skip
def test_the_response_is_the_embedding(name, width):
    if name == "torchvision:squeezenet1_1":  # its classifier is a convolution
        with pytest.raises(ModelError, match="no linear classifier"):
            models.create(name, classes=0, size=(64, 64))
        return
    model = models.create(name, classes=0, size=(64, 64)).model.eval()
    response = compute_response(model, torch.zeros(2, 3, 64, 64))
    assert response.dim() == 2
    assert width in (None, response.shape[1])


@pytest.mark.parametrize("classes", [0, 7])
def test_weights_with_and_without_a_classifier_load(tmp_path, classes):
    source = timm.create_model("test_resnet", num_classes=classes)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    loaded = models.create("timm:test_resnet", classes=0, weights=tmp_path / "weights.safetensors")
    assert loaded.pretrained
    assert not loaded.untrained
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name])


def test_position_embeddings_of_another_size_are_interpolated(tmp_path):
    source = timm.create_model("vit_tiny_patch16_224", num_classes=5, depth=1)
    state = source.state_dict()
    full = timm.create_model("vit_tiny_patch16_224", num_classes=5).state_dict()
    save_file({**full, **state}, tmp_path / "weights.safetensors")
    model = models.create(
        "timm:vit_tiny_patch16_224", classes=0, size=(64, 64), weights=tmp_path / "weights.safetensors"
    )
    own = model.model.state_dict()
    assert own["pos_embed"].shape == (1, 17, 192)
    assert torch.equal(own["pos_embed"][:, 0], state["pos_embed"][:, 0])  # that of the class token
    assert torch.equal(own["cls_token"], state["cls_token"])


def test_other_weights_are_still_refused(tmp_path):
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    save_file(
        {**state, "more.weight": torch.zeros(2, 2), "other.weight": torch.zeros(2, 2)}, tmp_path / "x.safetensors"
    )
    with pytest.raises(ModelError, match="not in the model"):
        models.create("timm:test_resnet", classes=0, weights=tmp_path / "x.safetensors")


def test_names_of_published_weights():
    assert published_name("timm:vit_small_patch14_reg4_dinov2") == "timm:vit_small_patch14_reg4_dinov2.lvd142m"
    assert published_name("torchvision:resnet50") == "torchvision:resnet50:DEFAULT"
    for name in ("timm:resnet50.a1_in1k", "torchvision:resnet50:IMAGENET1K_V1", "hf:folder"):
        assert published_name(name) == name
    for name in ("cnn4", "timm:test_nothing"):
        with pytest.raises(ConfigError, match="no published weights"):
            published_name(name)
