"""A student that learns from mixed samples and from mixed outputs: MixSKD, by hand and as a run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small import Dense, Plain, digits, fit, net, scenes

import tutelage
from tutelage import models, recipes
from tutelage.errors import ConfigError, ModelError
from tutelage.losses.functional.divergence import softened_kl
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import unwrap
from tutelage.schemes.mixup_self import MixupPlayer, MixupSelf, draw_mix
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification

METHOD = recipes.load("mixskd")["method"]


def mixed(method=METHOD, model=None, layers=(), **options) -> MixupSelf:
    return MixupSelf(MixupPlayer(model or net("cnn2"), Terms.from_method(method), Classification(), layers), **options)


def wired(**options):
    scheme, batch = mixed(**options), next(digits(32).batches("train", 8))
    torch.manual_seed(5)
    scheme.wire(batch, 32)
    return scheme.train(), batch


def turn(scheme, batch, step: int = 0) -> dict[str, torch.Tensor]:
    ((name, losses),) = scheme.turns(batch, step)
    assert name == "student"
    return losses


def by_hand(player, model, batch, share, order) -> dict[str, torch.Tensor]:
    """Compute the paper's losses from separate outputs for x_a, x_b and the mixture."""
    x, y, b = batch.inputs, batch.targets, len(batch)
    both = torch.cat([x, share * x + (1 - share) * x[order]])
    f1 = model.layer1(both)
    f2 = model.layer2(f1)
    f3 = model.layer3(f2)
    (g1, z1), (g2, z2) = (head(f) for head, f in zip(player.heads, (f1, f2), strict=True))
    z3 = model.fc(f3.mean((2, 3)))
    answers = [(z[:b], z[:b][order], z[b:]) for z in (z1, z2, z3)]
    features = [(share * g[:b] + (1 - share) * g[:b][order], g[b:]) for g in (g1, g2, f3)]

    def self_teacher(maps):
        return player.self_teacher.fc(player.self_teacher.conv(torch.cat(maps, 1)).mean((2, 3)))

    of_mixed, of_mixture = (self_teacher([pair[k] for pair in features]) for k in (0, 1))
    mixes = [share * a + (1 - share) * c for a, c, _ in answers]
    ce = sum(F.cross_entropy(a, y) for a, _, _ in answers)
    for z in (*(m for _, _, m in answers), of_mixed, of_mixture):
        ce = ce + share * F.cross_entropy(z, y) + (1 - share) * F.cross_entropy(z, y[order])
    kd = (
        softened_kl(mixes[2], of_mixture.detach(), 3.0).mean()
        + softened_kl(answers[2][2], of_mixed.detach(), 3.0).mean()
    )
    for k in (0, 1):
        kd = kd + softened_kl(mixes[k], answers[k][2].detach(), 3.0).mean()
        kd = kd + softened_kl(answers[k][2], mixes[k].detach(), 3.0).mean()
    square = sum((s - t).pow(2).mean() for s, t in features)
    discriminator_loss = player.terms.named_terms()["mixskd_discriminator"].loss(
        [s for s, _ in features], [t for _, t in features]
    )
    return {"ce": ce, "kd": kd, "fitnet": square, "mixskd_discriminator": discriminator_loss.mean()}


def test_it_is_mixskd_written_by_hand():
    scheme, batch = wired(seed=3)
    player, model = scheme.players["student"], net("cnn2").train()
    losses = turn(scheme, batch, 7)
    expected = by_hand(player, model, batch, *draw_mix(0.4, 8, 3, 7))
    assert set(losses) == set(expected)
    for name, value in expected.items():
        assert torch.allclose(losses[name], value, rtol=1e-5), name
    torch.stack(list(losses.values())).sum().backward()
    torch.stack(list(expected.values())).sum().backward()
    for p, q in zip(player.student.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=1e-4, atol=1e-5)


def test_the_order_of_a_pair_does_not_matter():
    """λ, x_a, x_b and 1 − λ, x_b, x_a are the same pairs, by a network that sees samples one by one."""
    scheme, batch = wired(model=Plain(), method=[{"name": "ce"}, {"name": "kd", "temperature": 3.0, "weight": 1.0}])
    player = scheme.players["student"].eval()  # so are the heads' batch norms
    swap = torch.tensor([1, 0, 3, 2, 5, 4, 7, 6])
    forward, swapped = player(batch, 0.3, swap), player(batch, 0.7, swap)
    for name in forward:
        assert torch.allclose(forward[name], swapped[name], rtol=1e-5), name


def test_no_gradient_where_there_should_be_none():
    scheme, batch = wired()
    player, losses = scheme.players["student"], turn(scheme, batch)
    above = list(player.self_teacher.parameters())
    parts = losses["kd"] + losses["fitnet"] + losses["mixskd_discriminator"]
    assert torch.autograd.grad(parts, above, retain_graph=True, allow_unused=True) == (None,) * len(above)
    assert all(g.any() for g in torch.autograd.grad(losses["ce"], above, retain_graph=True))
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in player.parameters())


def test_one_forward_serves_samples_and_mixtures():
    scheme, batch = wired()
    seen = []
    scheme.students()["student"].model.register_forward_pre_hook(lambda m, args: seen.append(len(args[0])))
    turn(scheme, batch)
    assert seen == [16]


def test_what_is_mixed_is_a_function_of_seed_and_step():
    share, order = draw_mix(0.4, 8, 3, 7)
    again = draw_mix(0.4, 8, 3, 7)
    assert (share, order.tolist()) == (again[0], again[1].tolist())
    assert sorted(order.tolist()) == list(range(8))
    others = [draw_mix(0.4, 8, seed, step)[0] for seed, step in ((3, 8), (4, 7), (7, 3))]
    assert len({share, *others}) == 4
    for alpha in (0.4, 2.0):
        shares = np.array([draw_mix(alpha, 2, 0, step)[0] for step in range(2000)])
        assert shares.mean() == pytest.approx(0.5, abs=0.03)
        assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=0.01)


def test_each_seed_of_a_run_mixes_otherwise():
    def of(seed):
        context = SimpleNamespace(
            network=lambda: net("cnn2"), terms=lambda: Terms.from_method("ce"), task=Classification(), seed=seed
        )
        return MixupSelf.from_context(context, alpha=0.2)

    assert (of(4).seed, of(4).alpha, of(5).seed) == (4, 0.2, 5)


def test_the_helpers_change_nothing_of_what_the_student_says():
    scheme, batch = wired()
    plain = Player(net("cnn2"), Terms.from_method([{"name": "ce"}]), Classification())
    plain.wire(None, batch, 32)
    assert torch.equal(
        scheme.players["student"].forward_student(batch).response, plain.train().forward_student(batch).response
    )


def test_any_term_finds_its_layers():
    at = {"name": "at", "student": ["layer1", "exit0"], "teacher": ["layer1", "exit0"]}
    scheme, batch = wired(method=["ce", at, {"name": "sp"}, {"name": "dist"}], layers=["layer2"])
    terms = scheme.players["student"].terms.named_terms()
    assert terms["at"].student_layers == ("layer1", "exit0")
    assert terms["sp"].teacher_layers == ("exit0", "layer3")
    assert all(x.isfinite() for x in turn(scheme, batch).values())


def vit():
    import timm

    small = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 4, "num_heads": 2, "num_classes": 5}
    return timm.create_model("vit_tiny_patch16_224", **small)


@pytest.mark.parametrize("make", [lambda: models.create("resnet8", classes=5, channels=3).model, vit])
def test_it_fits_any_model(make):
    torch.manual_seed(0)
    scheme, batch = mixed(model=make()), Batch(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]), torch.arange(2))
    scheme.wire(batch, 8)
    assert all(x.isfinite() for x in turn(scheme, batch).values())


def test_what_cannot_be_mixed_is_refused():
    for options, match in (
        ({"alpha": 0}, "alpha=0: expected a number above 0"),
        ({"alpha": "much"}, "alpha='much'"),
        ({"method": ["ps_kd"]}, "ps_kd requires the index of each sample, but a mixture consists of two"),
        ({"method": ["ce", "nkd"]}, "nkd requires the targets"),
    ):
        with pytest.raises(ConfigError, match=match):
            wired(**options)
    with pytest.raises(ModelError, match="unknown layer 'layer22'"):
        wired(layers=["layer22"])
    with pytest.raises(ConfigError, match="exits classify whole samples"):
        mixed(model=Dense(), method=["ce"]).wire(next(scenes().batches("train", 4)), 16)
    with pytest.raises(ConfigError, match="one floating-point tensor"):
        mixed().wire(Batch({"image": torch.randn(2, 1, 8, 8)}, torch.tensor([0, 1])), 16)
    with pytest.raises(ConfigError, match="unknown option of scheme mixed 'alfa'"):
        tutelage.distill(method="mixskd", scheme={"name": "mixed", "alfa": 1})


def test_fitting_changes_the_helpers_too():
    scheme, data = mixed(), digits(32)
    fit(scheme, data)
    torch.manual_seed(3)
    fresh = mixed()
    fresh.wire(next(data.batches("train", 16)), 32)
    for helper in ("heads", "self_teacher", "terms"):
        trained, untrained = (getattr(unwrap(s.players["student"]), helper).parameters() for s in (scheme, fresh))
        assert all(not torch.equal(p, q) for p, q in zip(trained, untrained, strict=True)), helper
