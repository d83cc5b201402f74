"""Features of the layers of any module, captured by a forward that returns them."""

import copy

import pytest
import torch
import torch.nn.functional as F
from small import net
from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.nn.feature_extractor import FeatureExtractor, eval_no_grad, run_once

X = torch.linspace(-1, 1, 2 * 64).view(2, 1, 8, 8)


class Tail(nn.Module):
    """A network with a layer whose output the next one overwrites, as in torchvision's ResNets."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(1)
        self.relu = nn.ReLU(inplace=True)
        self.pair = Pair()
        self.twice = nn.Tanh()
        self.unused = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(x))
        x, _ = self.pair(x)
        return self.twice(self.twice(x)).flatten(1)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        return x * 2, "and more"


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = Words()

    def forward(self, x: Tensor) -> Tensor:
        self.words(x)
        return x.flatten(1)


class Words(nn.Module):
    def forward(self, x: Tensor) -> str:
        return "words"


class Shifted(nn.Module):
    """A network with channels-last maps (B, H, W, C), as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 6, 2, 2)
        self.block = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(self.embed(x).permute(0, 2, 3, 1))
        return self.head(x.mean((1, 2)))


def test_features_are_the_layers_outputs():
    model = net("cnn2").eval()
    outputs = FeatureExtractor(model, ["layer2", "layer2:in", "fc:in"])(X)
    first = model.layer1(X)
    second = model.layer2(first)
    assert torch.equal(outputs["layer2:in"], first)
    assert torch.equal(outputs["layer2"], second)
    assert torch.equal(outputs["fc:in"], model.layer3(second).mean((2, 3)))
    assert torch.equal(outputs.response, model(X))


def test_gradients_flow_through_features():
    model = net("cnn2")
    FeatureExtractor(model, ["layer1"])(X)["layer1"].sum().backward()
    assert model.layer1[0].weight.grad is not None
    assert model.fc.weight.grad is None


def test_an_unknown_layer_gets_near_names():
    with pytest.raises(ModelError, match=r"unknown layer 'layer33': did you mean .*'layer3'"):
        FeatureExtractor(net(), ["layer33"])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("unused", "'unused' didn't run in the forward"),
        ("unused:in", "'unused:in' didn't run in the forward"),
        ("twice", "'twice' ran twice"),
        ("bn1", "'bn1' was overwritten in place"),
        ("relu:in", "'relu:in' was overwritten in place"),
    ],
)
def test_layers_without_a_feature_are_refused(layer, message):
    with pytest.raises(ModelError, match=message):
        FeatureExtractor(Tail(), [layer])(X)


def test_torchvisions_overwritten_layer_is_refused():
    from torchvision.models import resnet18

    with pytest.raises(ModelError, match=r"'layer1.0.bn1' was overwritten in place"):
        run_once(resnet18(weights=None, num_classes=3), torch.zeros(1, 3, 32, 32), ["layer1.0.bn1"])


def test_a_tuple_gives_its_first_and_text_is_refused():
    assert run_once(Tail(), X, ["pair"])["pair"].shape == X.shape
    with pytest.raises(ModelError, match="'words' outputs str, expected a tensor"):
        FeatureExtractor(Text(), ["words"])(X)


def test_a_failing_model_is_named_with_its_inputs():
    with pytest.raises(ModelError, match=r"CNN fails on inputs \(2, 3, 8, 8\)"):
        run_once(net(), torch.zeros(2, 3, 8, 8))


def test_channels_last_inside_become_channels_first():
    model = Shifted()
    outputs = FeatureExtractor(model, ["block", "embed"])(X)
    assert outputs["block"].shape == outputs["embed"].shape == (2, 6, 4, 4)
    assert torch.equal(outputs["block"].permute(0, 2, 3, 1), model.block(model.embed(X).permute(0, 2, 3, 1)))


def test_timms_swin_gives_channels_first():
    import timm

    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=32, window_size=4, embed_dim=12, depths=(1, 1), num_heads=(1, 2)
    )
    assert run_once(swin, torch.zeros(1, 3, 32, 32), ["layers.1"])["layers.1"].shape == (1, 24, 4, 4)


def test_the_wrapped_model_can_be_called_directly():
    model = net().eval()
    extractor = FeatureExtractor(model, ["layer1"])
    expected = model(X)
    model(X)
    model.layer1(X)
    assert torch.equal(extractor(X).response, expected)
    assert extractor.store == {}
    assert extractor.close() is model
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_an_error_in_the_forward_resets_the_extractor():
    extractor = FeatureExtractor(net(), ["layer1"])
    with pytest.raises(RuntimeError):
        extractor(torch.zeros(2, 3, 8, 8))
    assert not extractor.capturing
    assert extractor(X)["layer1"].shape[1] == 2


def test_a_copy_has_hooks_of_its_own():
    extractor = FeatureExtractor(net().eval(), ["layer1", "fc:in"])
    extractor(X)
    twin = copy.deepcopy(extractor)
    with torch.no_grad():
        twin.model.layer1[0].weight.zero_()
    assert not torch.equal(twin(X)["layer1"], extractor(X)["layer1"])
    twin.close()
    assert not any(m._forward_hooks for m in twin.model.modules())
    assert extractor(X)["layer1"].shape == (2, 2, 8, 8)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_features_are_right_alongside_a_compiled_twin_without_hooks(backend):
    torch._dynamo.reset()
    twin, model = FeatureExtractor(net("cnn2", 1)), net("cnn2", 2)
    twin.compile(backend=backend)
    twin(X)
    expected = run_once(model, X, ["layer1", "fc:in"])
    extractor = FeatureExtractor(model, ["layer1", "fc:in"]).eval()
    extractor.compile(backend=backend)
    for _ in range(2):
        outputs = extractor(X)
        for layer in ("layer1", "fc:in"):
            assert torch.allclose(outputs[layer], expected[layer], atol=1e-6)
    outputs["layer1"].sum().backward()
    assert model.layer1[0].weight.grad.abs().sum() > 0
    torch._dynamo.reset()


def test_features_and_response_are_float32():
    extractor = FeatureExtractor(net().to(torch.bfloat16).eval(), ["layer1", "fc:in"])
    outputs = extractor(X.to(torch.bfloat16))
    assert {outputs.response.dtype, outputs["layer1"].dtype, outputs["fc:in"].dtype} == {torch.float32}


class Noisy(nn.Module):
    """A network with batch norm and a dropout that ignores eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(1)
        self.drop = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.drop(self.bn(x)), training=True).flatten(1)


def test_run_once_has_no_side_effects():
    model = Noisy()
    model.drop.eval()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    run_once(model, X, ["bn"])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (model.training, model.bn.training, model.drop.training) == (True, True, False)
    assert not model.bn._forward_hooks


def test_eval_no_grad_restores_the_flags_after_an_error():
    model = Noisy()

    def fail() -> None:
        with eval_no_grad(model):
            assert not model.bn.training
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert model.bn.training
