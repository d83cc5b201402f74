"""Models by name: every source, the near names, and the refusals."""

import doctest
import importlib
import re
import sys
import time

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import tutelage.models
from tutelage.errors import ConfigError, ModelError
from tutelage.models import available, create, loading, pretrained, providers

TIMM = "timm:test_resnet"
TAGGED = "timm:test_resnet.r160_in1k"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and empty caches."""
    from huggingface_hub import constants

    monkeypatch.setattr(pretrained, "is_reachable", lambda url: False)
    monkeypatch.setattr(providers, "is_reachable", lambda url: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


@pytest.fixture
def mine(monkeypatch, tmp_path):
    """A module of the user's."""
    code = (
        "from torch import nn\n"
        "def both(classes, channels): return nn.Conv2d(channels, classes, 1)\n"
        "def one(classes): return nn.Linear(4, classes)\n"
        "def more(classes, depth): return nn.Linear(depth, classes)\n"
        "def wrong(): return 3\n"
        "number = 3\n"
    )
    (tmp_path / "my_models.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_models", None)


def test_the_example_in_the_docstring():
    assert doctest.testmod(tutelage.models).failed == 0


def test_available_says_a_line_about_each():
    known = available()
    assert {"resnetD[xK]", "wrn_D_K", "segW", "timm:NAME[.TAG]", "python:MODULE:CALLABLE"} <= known.keys()
    assert all(line.endswith(".") for line in known.values())


@pytest.mark.parametrize(
    ("name", "task", "words"),
    [
        ("renset20", "classification", "unknown model 'renset20': did you mean 'resnet20'"),
        ("tim:resnet18", "classification", "unknown source of models 'tim': did you mean 'timm'"),
        ("seg8", "classification", "seg8 is a network for segmentation, not for classification"),
        ("resnet20", "segmentation", "resnet20 is a network for classification, not for segmentation"),
        (TIMM, "segmentation", "a label for each pixel: use seg16"),
        ("timm:resnet188", "classification", "timm has no model 'resnet188': did you mean 'resnet18'"),
        ("timm:resnet18.nix", "classification", "no weights 'nix' of resnet18: expected one of a1_in1k"),
        ("torchvision:resnet1", "classification", "no classification model 'resnet1': did you mean 'resnet18'"),
        ("torchvision:resnet18", "segmentation", "no segmentation model 'resnet18'"),
        ("torchvision:resnet18:NIX", "classification", "no weights 'NIX' of resnet18: expected one of IMAGENET1K_V1"),
        ("python:my_models", "classification", "expected python:MODULE:CALLABLE"),
        ("python:my_modelz:both", "classification", "can't import 'my_modelz'"),
        ("python:my_models:nix", "classification", "my_models has no 'nix'"),
        ("python:my_models:number", "classification", "is a int: expected a callable"),
        ("python:my_models:more", "classification", "classes= and channels= only: missing.*'depth'"),
    ],
)
@pytest.mark.usefixtures("mine")
def test_wrong_names(name, task, words):
    with pytest.raises(ConfigError, match=words):
        create(name, classes=4, task=task)


@pytest.mark.parametrize("wrong", [{"classes": -1}, {"classes": 4, "channels": 0}])
def test_counts_below_one(wrong):
    with pytest.raises(ConfigError, match=r"classes=-?\d, channels=\d: expected 0 or more classes, 1 or more channels"):
        create("resnet8", **wrong)


def test_a_built_in_has_no_published_weights():
    with pytest.raises(ConfigError, match="no published weights here"):
        create("resnet8", classes=4, pretrained=True)


@pytest.mark.usefixtures("mine")
def test_ones_own_callable():
    assert create("python:my_models:both", classes=5, channels=2).model.weight.shape[:2] == (5, 2)
    made = create("python:my_models:one", classes=5, size=(8, 8))
    assert (made.model.out_features, made.name, made.pretrained) == (5, "python:my_models:one", False)
    with pytest.raises(ModelError, match=r"returned int, expected a torch\.nn\.Module"):
        create("python:my_models:wrong", classes=5)


def test_timm_without_weights():
    made = create(TIMM, classes=5, channels=1, size=(32, 32))
    assert made.model.eval()(torch.randn(2, 1, 32, 32)).shape == (2, 5)
    assert (made.mean, made.std, made.pretrained, made.notes) == (None, None, False, [])


def test_timm_transformer_takes_the_size():
    made = create("timm:test_vit", classes=5, size=(64, 64))
    assert made.model.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 5)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "swin_t"])
def test_torchvision_without_weights(name):
    made = create(f"torchvision:{name}", classes=5, channels=1, size=(64, 64))
    assert made.model.eval()(torch.randn(1, 1, 64, 64)).shape == (1, 5)
    assert made.mean is None


def test_torchvision_segmentation():
    made = create("torchvision:lraspp_mobilenet_v3_large", classes=5, channels=1, size=(64, 64), task="segmentation")
    assert made.model.eval()(torch.randn(1, 1, 64, 64))["out"].shape == (1, 5, 64, 64)


def test_an_image_too_small_is_refused_when_the_model_is_made():
    with pytest.raises(ModelError, match=r"torchvision:alexnet can't be made for .* images of 32×32: .*too small"):
        create("torchvision:alexnet", classes=5, size=(32, 32))


def test_trying_leaves_mode_and_seed_alone():
    torch.manual_seed(0)
    made = create("resnet8", classes=5, size=(8, 8))
    drawn = torch.rand(1)
    torch.manual_seed(0)
    create("resnet8", classes=5)
    assert torch.equal(drawn, torch.rand(1))
    assert made.model.training
    assert all(m.num_batches_tracked == 0 for m in made.model.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("name", [TAGGED, "torchvision:resnet18:DEFAULT", "hf:somebody/something"])
@pytest.mark.usefixtures("offline")
def test_no_network_is_said_at_once(name):
    importlib.import_module("transformers.models.auto")
    start = time.monotonic()
    with pytest.raises(ModelError, match=f"can't get the pretrained weights of {name[:9]}.*pretrained=false, or"):
        create(name, classes=4)
    assert time.monotonic() - start < 5


def test_timm_weights_in_the_cache_serve_without_network(offline):
    """ImageNet weights in the hub's cache, requested with 5 classes: only the head keeps its random weights."""
    saved = create(TIMM, classes=1000).model.state_dict()
    folder = offline / "hub" / "models--timm--test_resnet.r160_in1k"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    save_file(saved, folder / "snapshots" / "abc" / "model.safetensors")
    made = create(TAGGED, classes=5)
    assert torch.equal(made.model.state_dict()["conv1.0.weight"], saved["conv1.0.weight"])
    assert made.pretrained
    assert len(made.mean) == len(made.std) == 3
    assert "trained for 1000 classes, not 5" in made.untrained[0]


def test_torchvision_weights_in_the_cache_serve_without_network(offline):
    from torchvision.models import MobileNet_V3_Small_Weights

    saved = create("torchvision:mobilenet_v3_small", classes=1000).model.state_dict()
    folder = offline / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(saved, folder / MobileNet_V3_Small_Weights.DEFAULT.url.rpartition("/")[2])
    made = create("torchvision:mobilenet_v3_small", classes=5, channels=1, pretrained=True)
    loaded = made.model.state_dict()
    assert torch.equal(loaded["features.1.block.0.0.weight"], saved["features.1.block.0.0.weight"])
    torch.testing.assert_close(loaded["features.0.0.weight"], saved["features.0.0.weight"].sum(1, keepdim=True))
    assert made.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))
    assert [note.partition(":")[0] for note in (*made.untrained, *made.notes)] == [
        "classifier.3.bias", "classifier.3.weight", "features.0.0.weight",
    ]  # fmt: skip


@pytest.mark.usefixtures("offline")
def test_hugging_face_folder(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    saved = ViTForImageClassification(ViTConfig(**small, image_size=32, patch_size=8, num_labels=7))
    saved.save_pretrained(tmp_path / "vit")
    ViTImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[1.0, 1.0, 1.0]).save_pretrained(tmp_path / "vit")
    made = create(f"hf:{tmp_path / 'vit'}", classes=5, size=(32, 32))
    assert made.model(torch.randn(2, 3, 32, 32)).logits.shape == (2, 5)
    weight = "vit.layernorm.weight"
    assert torch.equal(made.model.state_dict()[weight], saved.state_dict()[weight])
    assert (made.pretrained, made.mean) == (True, (0.1, 0.2, 0.3))
    assert "trained for 7 classes, not 5" in made.untrained[0]
    fresh = create(f"hf:{tmp_path / 'vit'}", classes=5, channels=1, size=(16, 16), pretrained=False)
    assert (fresh.pretrained, fresh.mean) == (False, None)
    with pytest.raises(ModelError, match="images of 64×64"):
        create(f"hf:{tmp_path / 'vit'}", classes=5, size=(64, 64))


def test_a_missing_library_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"timm isn't installed: pip install 'tutelage\[timm\]'"):
        create(TIMM, classes=4)


@pytest.mark.parametrize("name", ["resnet50", "resnet152", "vgg16", "vgg19_bn"])
def test_a_small_network_of_a_large_ones_name_says_so(name):
    (note,) = create(name, classes=10).notes
    assert re.fullmatch(
        rf"{name} is the literature's network for small images .*timm:{name} or torchvision:{name}.", note
    )


def test_names_of_small_networks_alone_say_nothing_and_no_library_is_asked(monkeypatch):
    monkeypatch.setattr(loading, "hint_at_libraries", None)
    assert [create(name, classes=10).notes for name in ("resnet20", "resnet56", "vgg8", "wrn_16_2")] == [[]] * 4


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "efficientnet_b0", "mobilenet_v3_small", "resnet101"])
def test_a_name_that_other_libraries_know_is_pointed_to(name):
    with pytest.raises(ConfigError, match=rf"network for photos of that name is (timm|torchvision):{name}"):
        create(name, classes=10)
