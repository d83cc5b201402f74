"""The part of a network after a layer, run on its own."""

from __future__ import annotations

import pytest
import torch
from small import net
from torch import nn

from tutelage import models
from tutelage.errors import ModelError
from tutelage.nn.feature_extractor import run_once
from tutelage.nn.tail import Tail

X = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "layer"), [("cnn4", "layer1"), ("resnet8", "layer2.0"), ("resnet8", "bn1"), ("wrn_16_1", "layer1")]
)
def test_the_tail_outputs_what_the_network_outputs(name, layer):
    tail = Tail(net(name).eval(), layer, X[:2])
    outputs = run_once(tail.model, X, [layer])
    assert torch.allclose(tail(outputs[layer]), outputs.response, atol=1e-6)


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "timm:swin_tiny_patch4_window7_224"])
def test_tokens_and_channels_last_have_a_tail(name):
    options = {"channels": 1, "size": (32, 32)} if "vit" in name else {"channels": 3, "size": (224, 224)}
    torch.manual_seed(0)
    model = models.create(name, classes=4, pretrained=False, **options).model.eval()
    x = torch.randn(1, options["channels"], *options["size"])
    layer = "blocks.3" if "vit" in name else "layers.1"
    outputs = run_once(model, x, [layer])
    assert torch.allclose(Tail(model, layer, torch.cat([x, x]))(outputs[layer]), outputs.response, atol=1e-4)


def test_only_later_modules_run_and_are_trained():
    tail = Tail(net("cnn4"), "layer1", X)
    ran = []
    for name, module in tail.model.named_children():
        conv = module[0] if isinstance(module, nn.Sequential) else module
        conv.register_forward_hook(lambda *_, name=name: ran.append(name))
    feature = torch.randn(5, 4, 8, 8, requires_grad=True)
    tail(feature).sum().backward()
    assert ran == ["layer2", "layer3", "fc"]
    trained = {name.partition(".")[0] for name, p in tail.model.named_parameters() if p.grad is not None}
    assert trained == {"layer2", "layer3", "fc"}
    assert feature.grad is not None
    assert all(not p.requires_grad for p in tail.model.layer1.parameters())


def test_a_module_that_runs_before_and_after_is_kept():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.act, self.b = nn.Linear(4, 4), nn.PReLU(), nn.Linear(4, 2)

        def forward(self, x):
            return self.b(self.act(self.a(self.act(x))))

    tail = Tail(Twice(), "a", torch.randn(2, 4))
    feature = torch.randn(3, 4)
    assert torch.equal(tail(feature), tail.model.b(tail.model.act(feature)))
    assert tail.model.act.weight.requires_grad


class Past(nn.Module):
    """A network with a skip connection past the layer."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        first = self.a(x)
        return self.c(first + self.b(first))


def test_refuses_a_layer_without_a_tail():
    with pytest.raises(ModelError, match="depend on more than its output"):
        Tail(Past(), "b", torch.randn(2, 4))
    with pytest.raises(ModelError, match="unknown layer 'layr1'"):
        Tail(net("cnn2"), "layr1", X)
    shared = nn.Linear(4, 4)
    with pytest.raises(ModelError, match="runs 2 times"):
        Tail(nn.Sequential(shared, shared, nn.Linear(4, 2)), "0", torch.randn(2, 4))
