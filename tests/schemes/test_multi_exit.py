"""A student with exits: BYOT, by hand and as a run."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small import digits, fit, net

import tutelage
from tutelage import models
from tutelage.errors import ModelError
from tutelage.losses.functional.divergence import softened_kl
from tutelage.nn.heads import BottleneckClassifier
from tutelage.nn.model_profile import profile_model
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import unwrap
from tutelage.schemes.multi_exit import MultiExit, MultiExitPlayer
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification

METHOD = [
    {"name": "ce", "weight": 0.9},
    {"name": "byot", "weight": 0.1},
    {"name": "byot_hint", "weight": 1e-2, "connector": "identity"},
]


def exits(method=METHOD, layers=()) -> MultiExit:
    return MultiExit(MultiExitPlayer(net("cnn2"), Terms.from_method(method), Classification(), layers))


def wired(layers=()):
    scheme, batch = exits(layers=layers), next(digits(32).batches("train", 8))
    scheme.wire(batch, 32)
    return scheme.train(), batch


def test_it_is_byot_written_by_hand():
    scheme, batch = wired()
    player, model = scheme.players["student"], net("cnn2").train()
    assert player.exits == ["layer1", "layer2"]
    ((_, losses),) = scheme.turns(batch, 0)
    f1 = model.layer1(batch.inputs)
    f2 = model.layer2(f1)
    deep = model.layer3(f2)
    z = model.fc(deep.mean((2, 3)))
    shallow = [head(f) for head, f in zip(player.heads, (f1, f2), strict=True)]
    ce = 0.9 * sum(F.cross_entropy(x, batch.targets) for x in (z, *(s for _, s in shallow)))
    kd = 0.1 * sum(softened_kl(s, z.detach(), 3.0).mean() for _, s in shallow)
    hint = 1e-2 * sum((f - deep.detach()).pow(2).flatten(1).sum(1).mean() for f, _ in shallow)
    for name, value in {"ce": ce, "byot": kd, "byot_hint": hint}.items():
        assert torch.allclose(losses[name], value, rtol=1e-5), name
    torch.stack(list(losses.values())).sum().backward()
    (ce + kd + hint).backward()
    for p, q in zip(player.student.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, atol=1e-6)


def test_the_deepest_exit_learns_from_the_truth_alone():
    scheme, batch = wired()
    ((_, losses),) = scheme.turns(batch, 0)
    fc = scheme.students()["student"].model.fc.weight
    (gradient,) = torch.autograd.grad(losses["byot"] + losses["byot_hint"], [fc], retain_graph=True, allow_unused=True)
    assert gradient is None or not gradient.any()
    assert all(p.requires_grad for p in scheme.players["student"].heads.parameters())


def test_one_forward_serves_all_exits():
    scheme, batch = wired()
    seen = []
    scheme.students()["student"].model.register_forward_pre_hook(lambda m, args: seen.append(len(args[0])))
    list(scheme.turns(batch, 0))
    assert seen == [8]


def test_named_layers_carry_the_exits():
    scheme, _ = wired(["layer2"])
    assert scheme.players["student"].exits == ["layer2"]
    with pytest.raises(ModelError, match="unknown layer 'layer22': did you mean"):
        wired(["layer22"])


@pytest.mark.parametrize("name", ["resnet8", "timm:vit_tiny_patch16_224"])
def test_heads_fit_any_model(name):
    torch.manual_seed(0)
    size = 224 if name.startswith("timm") else 32
    model = models.create(name, classes=5, channels=3, size=(size, size)).model
    scheme = MultiExit(MultiExitPlayer(model, Terms.from_method(METHOD), Classification()))
    scheme.wire(Batch(torch.randn(2, 3, size, size), torch.tensor([0, 1]), torch.arange(2)), 8)
    player = scheme.players["student"]
    assert len(player.heads) == len(profile_model(model, Batch(torch.randn(2, 3, size, size))).stages) - 1
    ((_, losses),) = scheme.turns(Batch(torch.randn(2, 3, size, size), torch.tensor([0, 1]), torch.arange(2)), 0)
    assert all(x.isfinite() for x in losses.values())


def test_a_head_reduces_by_the_stride_between_the_two():
    head = BottleneckClassifier(torch.zeros(2, 4, 16, 16), torch.zeros(2, 16, 4, 4), 7)
    feature, logits = head(torch.randn(3, 4, 16, 16))
    assert head.bottleneck[3].stride == (4, 4)
    assert feature.shape == (3, 16, 4, 4)
    assert logits.shape == (3, 7)


def test_the_heads_change_nothing_of_what_the_student_says():
    data = digits(32)
    scheme = MultiExit(MultiExitPlayer(net("cnn2"), Terms.from_method([{"name": "ce"}]), Classification()))
    plain = Player(net("cnn2"), Terms.from_method([{"name": "ce"}]), Classification())
    batch = next(data.batches("train", 8))
    scheme.wire(batch, 32)
    plain.wire(None, batch, 32)
    assert torch.equal(scheme.players["student"].forward_student(batch).response, plain.forward_student(batch).response)


def test_the_exported_student_is_the_bare_network(tmp_path):
    run = tutelage.distill(method="byot", epochs=1, limit=100, out=str(tmp_path / "run"))
    assert list(run.student.state_dict()) == list(net("cnn2").state_dict())
    assert set(run.result) >= {"baseline", "student"}


@pytest.mark.parametrize("name", ["ban", "ban_cwtm", "ban_dkpp"])
def test_born_again_generations_are_each_taught_by_the_one_before(tmp_path, name):
    keys = {"method": name, "epochs": 1, "limit": 100}
    run = tutelage.distill(**keys, out=str(tmp_path / "run"))
    assert list(run.result["before"]) == ["gen1", "gen2"]
    run = tutelage.distill(**keys, baseline=False, out=str(tmp_path / "whole"))
    assert list(run.result["before"]) == ["gen0", "gen1", "gen2"]
    for phase, expected_phase in (("baseline-0", "gen0-0"), ("gen1-0", "gen1-0"), ("student-0", "student-0")):
        files = (tmp_path / folder / "model.safetensors" for folder in (f"run/{phase}", f"whole/{expected_phase}"))
        one, other = (tutelage.load(file) for file in files)
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_fitting_changes_the_heads_too():
    scheme, data = exits(), digits(32)
    fit(scheme, data)
    torch.manual_seed(3)
    fresh = exits()
    fresh.wire(next(data.batches("train", 16)), 32)
    trained, untrained = (unwrap(s.players["student"]).heads.parameters() for s in (scheme, fresh))
    assert all(not torch.equal(p, q) for p, q in zip(trained, untrained, strict=True))
