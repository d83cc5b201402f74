"""A student taught by a pyramid on its own stages: FRSKD, by hand and as a run."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small import Dense, digits, fit, net, scenes
from torch import nn

from tutelage import models
from tutelage.errors import ConfigError, ModelError
from tutelage.losses.feature.at import attention
from tutelage.losses.functional.divergence import softened_kl
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import unwrap
from tutelage.schemes.pyramid_self_teacher import PyramidPlayer, PyramidSelfTeacher
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification

METHOD = [
    {"name": "ce"},
    {"name": "kd", "temperature": 4.0, "weight": 2.0},
    {"name": "at", "weight": 100.0},
]


def self_teacher(method=METHOD, model=None, **options) -> PyramidSelfTeacher:
    return PyramidSelfTeacher(
        PyramidPlayer(model or net("cnn2"), Terms.from_method(method), Classification(), **options)
    )


def wired(**options):
    scheme, batch = self_teacher(**options), next(digits(32).batches("train", 8))
    torch.manual_seed(5)
    scheme.wire(batch, 32)
    return scheme.train(), batch


def turn(scheme, batch) -> dict[str, torch.Tensor]:
    ((name, losses),) = scheme.turns(batch, 0)
    assert name == "student"
    return losses


def test_it_is_frskd_written_by_hand():
    scheme, batch = wired()
    player, model = scheme.players["student"], net("cnn2").train()
    assert player.layers == ["layer1", "layer2", "layer3"]
    losses = turn(scheme, batch)
    f1 = model.layer1(batch.inputs)
    f2 = model.layer2(f1)
    f3 = model.layer3(f2)
    z = model.fc(f3.mean((2, 3)))
    refined, aside = player.pyramid([f1, f2, f3])
    ce = F.cross_entropy(z, batch.targets) + F.cross_entropy(aside, batch.targets)
    kd = 2 * softened_kl(z, aside.detach(), 4.0).mean()
    pairs = zip((f1, f2, f3), refined, strict=True)
    at = 100 * sum((attention(f) - attention(r.detach())).pow(2).mean() for f, r in pairs)
    for name, value in {"ce": ce, "kd": kd, "at": at}.items():
        assert torch.allclose(losses[name], value, rtol=1e-5), name
    torch.stack(list(losses.values())).sum().backward()
    (ce + kd + at).backward()
    for p, q in zip(player.student.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=1e-4, atol=1e-5)


def test_the_pyramid_learns_from_the_truth_alone_and_passes_that_on():
    scheme, batch = wired()
    player, losses = scheme.players["student"], turn(scheme, batch)
    pyramid = list(player.pyramid.parameters())
    gradients = torch.autograd.grad(losses["kd"] + losses["at"], pyramid, retain_graph=True, allow_unused=True)
    assert gradients == (None,) * len(pyramid)
    assert all(g is not None for g in torch.autograd.grad(losses["ce"], pyramid, retain_graph=True))
    _, aside = player.pyramid([player.forward_student(batch)[layer] for layer in player.layers])
    (through,) = torch.autograd.grad(aside.sum(), [player.student.model.layer1[0].weight])
    assert through.any()


def test_one_forward_serves_both():
    scheme, batch = wired()
    seen = []
    scheme.students()["student"].model.register_forward_pre_hook(lambda m, args: seen.append(len(args[0])))
    turn(scheme, batch)
    assert seen == [8]


def test_the_pyramid_changes_nothing_of_what_the_student_says():
    scheme, batch = wired()
    plain = Player(net("cnn2"), Terms.from_method([{"name": "ce"}]), Classification())
    plain.wire(None, batch, 32)
    plain.train()
    assert torch.equal(scheme.players["student"].forward_student(batch).response, plain.forward_student(batch).response)


def test_named_layers_are_refined_and_any_term_finds_them():
    method = [{"name": "fitnet"}, {"name": "sp"}, {"name": "at", "student": "layer3", "teacher": "refined1"}]
    scheme, batch = wired(method=[{"name": "ce"}, *method], layers=["layer2", "layer3"], width=1, depth=1)
    terms = scheme.players["student"].terms.named_terms()
    assert terms["fitnet"].student_layers == ("layer3",)
    assert terms["sp"].teacher_layers == ("refined1",)
    assert terms["at"].student_layers == ("layer3",)
    assert all(x.isfinite() for x in turn(scheme, batch).values())


def vit() -> nn.Module:
    import timm

    small = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 4, "num_heads": 2, "num_classes": 5}
    return timm.create_model("vit_tiny_patch16_224", **small)


@pytest.mark.parametrize("make", [lambda: models.create("resnet8", classes=5, channels=3).model, vit])
def test_it_fits_any_model(make):
    torch.manual_seed(0)
    scheme = self_teacher(model=make())
    batch = Batch(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]), torch.arange(2))
    scheme.wire(batch, 8)
    assert all(x.isfinite() for x in turn(scheme, batch).values())


class Flat(nn.Module):
    """A student without maps."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.fc = nn.Linear(64, 8), nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(self.hidden(x.flatten(1)).relu())


def test_what_cannot_be_refined_is_refused():
    for options, match in (
        ({"layers": ["layer22"]}, "unknown layer 'layer22': did you mean"),
        ({"layers": ["layer2"]}, "refines at least two stages, got layer2; set the layers"),
        ({"model": Flat()}, "at least two stages, got none; set the layers"),
        ({"method": [{"name": "at", "teacher": "layer2"}]}, "unknown layer 'layer2'"),
    ):
        with pytest.raises(ModelError, match=match):
            wired(**options)
    for options, match in (
        ({"model": Flat(), "layers": ["hidden", "fc"]}, "isn't a map"),
        ({"width": 0}, "width=0: expected a number of 1 or more"),
        ({"depth": 1.5}, r"depth=1.5: expected a whole number"),
    ):
        with pytest.raises(ConfigError, match=match):
            wired(**options)
    with pytest.raises(ConfigError, match="expected one per sample"):
        self_teacher(model=Dense()).wire(next(scenes().batches("train", 4)), 16)


def test_fitting_changes_the_pyramid_too():
    scheme, data = self_teacher(), digits(32)
    fit(scheme, data)
    torch.manual_seed(3)
    fresh = self_teacher()
    fresh.wire(next(data.batches("train", 16)), 32)
    trained, untrained = (unwrap(s.players["student"]).pyramid.parameters() for s in (scheme, fresh))
    assert all(not torch.equal(p, q) for p, q in zip(trained, untrained, strict=True))
