"""Students that learn from their joint outputs: each loss by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import Plain, digits, fit, net
from torch import nn

import tutelage
from tutelage.errors import ConfigError, ModelError
from tutelage.losses.online.ffl import FFL
from tutelage.losses.online.kdcl import KDCL, generalisation_weights
from tutelage.losses.online.mcl import MCL
from tutelage.losses.online.okddip import OKDDip
from tutelage.losses.online.one import ONE
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.nn.model_profile import profile_model
from tutelage.objective.terms import Terms
from tutelage.policies.weight.gradient_ratio import GradientRatio
from tutelage.schemes.collaborative import Collaborative
from tutelage.schemes.collaborative_player import CollaborativePlayer
from tutelage.schemes.peer_ensembles import create_ensemble
from tutelage.structures import Outputs
from tutelage.tasks.classification import Classification
from tutelage.training.dot import DOT
from tutelage.training.optimizers import distillation_terms

DATA = digits(48)


def together(
    method, count=3, ensemble="none", split="auto", rise=0.0, gradient=1.0, make=None, **options
) -> Collaborative:
    networks = {}
    for k in range(count):
        torch.manual_seed(k)
        networks[f"peer{k}"] = (make or Plain)()
    group = CollaborativePlayer(
        networks, Terms.from_method(method), Classification(), create_ensemble(ensemble), split, gradient, rise
    )
    return Collaborative(group, options.pop("data", DATA), **options)


def wired(scheme: Collaborative, epoch: float = 0.0):
    batch = replace(next(DATA.batches("train", 16)), epoch=epoch)
    torch.manual_seed(7)
    scheme.wire(batch, 48)
    scheme.train()
    return scheme, scheme.players["peers"], batch


def played(scheme: Collaborative, batch) -> dict[str, float]:
    ((name, losses),) = scheme.turns(batch, 0)
    assert name == "peers"
    return {term: value.item() for term, value in losses.items()}


def answers(group: CollaborativePlayer, batch) -> list[torch.Tensor]:
    return [student.model(batch.inputs) for student in group.students().values()]


def total(parts: dict[str, torch.Tensor]) -> float:
    return sum(part.mean().item() for part in parts.values())


def test_one_is_the_loss_of_the_branches_and_their_gated_sum():
    scheme, group, batch = wired(together(ONE(), ensemble="gate"))
    first = group.students()["peer0"].model
    z = torch.stack(answers(group, batch))
    gate = group.ensemble.norm(group.ensemble.gate(first.layer1(batch.inputs).mean((2, 3)))).relu().softmax(1)
    gated = torch.einsum("bk,kbc->bc", gate, z)
    assert played(scheme, batch) == pytest.approx({"one": total(ONE()(z, gated, targets=batch.targets))}, rel=1e-5)


def test_okddip_is_the_loss_of_a_leader_and_its_peers():
    scheme, group, batch = wired(together(OKDDip(), 4, "attention"))
    z = torch.stack(answers(group, batch))
    nets = [student.model for student in group.students().values()]
    f = torch.stack([m.layer2(m.layer1(batch.inputs)).mean((2, 3)) for m in nets[1:]], dim=1)
    inputs = {"query": group.ensemble.query(f), "key": group.ensemble.key(f), "targets": batch.targets}
    assert played(scheme, batch) == pytest.approx({"okddip": total(OKDDip()(z[0], z[1:], **inputs))}, rel=1e-5)


def fused(group: CollaborativePlayer, batch) -> torch.Tensor:
    """Compute the logits of FFL's classifier by hand."""
    maps = [m.layer2(m.layer1(batch.inputs)) for m in (student.model for student in group.students().values())]
    by_channel, norm, _, mix, last, _ = group.ensemble.fuse
    x = nn.functional.conv2d(torch.cat(maps, 1), by_channel.weight, padding=1, groups=len(by_channel.weight))
    x = last(nn.functional.conv2d(norm(x).relu(), mix.weight)).relu()
    return group.ensemble.classifier(x.flatten(2).mean(2))


def test_ffl_is_the_loss_of_the_networks_and_the_classifier_of_their_maps():
    for split in ("auto", None):
        scheme, group, batch = wired(together(FFL(), ensemble="feature_fusion", split=split))
        z = torch.stack(answers(group, batch))
        expected = total(FFL()(z, fused(group, batch), targets=batch.targets))
        assert played(scheme, batch) == pytest.approx({"ffl": expected}, rel=1e-5)


def test_ffl_takes_networks_in_any_order():
    values = []
    for order in ((0, 1, 2), (2, 0, 1)):
        networks = {f"peer{k}": net("cnn2", k) for k in order}
        scheme, group, batch = wired(
            Collaborative(
                CollaborativePlayer(
                    networks, Terms.from_method(FFL()), Classification(), create_ensemble("feature_fusion")
                )
            )
        )
        fuse = group.ensemble.fuse
        with torch.no_grad():  # each network's maps meet weights of their own, wherever they stand
            for place, k in enumerate(order):
                channels = slice(8 * place, 8 * (place + 1))
                generator = torch.Generator().manual_seed(k)
                fuse[0].weight[channels] = torch.randn(8, 1, 3, 3, generator=generator)
                fuse[3].weight[:, channels] = torch.randn(8, 8, 1, 1, generator=generator)
        values.append(played(scheme, batch)["ffl"])
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_maps_of_other_sizes_are_fused_at_the_smallest():
    ensemble = create_ensemble("feature_fusion")
    outputs = [Outputs(torch.randn(4, 10), {"end": torch.randn(4, c, side, side)}) for c, side in ((3, 8), (5, 4))]
    ensemble.build(outputs, "", ["end"])
    assert [tuple(x.shape) for x in ensemble.maps(outputs)] == [(4, 3, 4, 4), (4, 5, 4, 4)]
    assert ensemble.group_comparison(outputs)[1].response.shape == (4, 10)


def test_collaborative_heads_learn_from_the_others_mean_which_is_constant():
    scheme, group, batch = wired(together(0.5 * CE() + 0.5 * KD(2.0), gradient=1 / 3))
    z = answers(group, batch)
    expected = {}
    for i in range(3):
        peers = torch.stack([z[j] for j in range(3) if j != i]).mean(0)
        expected[f"peer{i}/ce"] = 0.5 * CE()(z[i], targets=batch.targets).mean().item()
        expected[f"peer{i}/kd"] = 0.5 * KD(2.0)(z[i], peers).mean().item()
    assert played(scheme, batch) == pytest.approx(expected, rel=1e-5)
    ((_, losses),) = scheme.turns(batch, 0)
    losses["peer0/kd"].backward()
    assert [s.model.fc.weight.grad is not None for s in group.students().values()] == [True, False, False]


def test_pcl_adds_a_classifier_of_all_features_and_the_peers_averages():
    scheme, group, batch = wired(together(ONE() + 1.0 * KD(3.0), ensemble="fusion", average=0.9))
    with torch.no_grad():
        for p in scheme.average.parameters():
            p.add_(0.1)
    nets = [student.model for student in group.students().values()]
    z, f = answers(group, batch), [m.layer2(m.layer1(batch.inputs)).mean((2, 3)) for m in nets]
    fused = group.ensemble.classifier(torch.cat(f, 1))
    averages = [student.model(batch.inputs) for student in scheme.average.module.extractors().values()]
    expected = {"one": total(ONE()(torch.stack(z), fused, targets=batch.targets))}
    for i in range(3):
        kds = [KD(3.0)(z[i], averages[j]).mean().item() for j in range(3) if j != i]
        expected[f"peer{i}/kd"] = sum(kds) / 2
    assert played(scheme, batch) == pytest.approx(expected, rel=1e-5)


def test_averages_follow_without_a_gradient_and_stay_in_eval_mode():
    scheme, group, batch = wired(together(ONE() + 1.0 * KD(3.0), ensemble="fusion", average=0.9, make=net))
    assert not any(m.training for m in scheme.average.modules())
    ((_, losses),) = scheme.turns(batch, 0)
    sum(losses.values()).backward()
    assert all(p.grad is None for p in scheme.average.parameters())
    for share in (1.0, 0.5, 1 / 3):  # 1 − decay: the first is a copy, then 1 − 1/(n + 1) is kept
        before = [p.clone() for p in scheme.average.parameters()]
        with torch.no_grad():
            for p in group.parameters():
                p.mul_(1.1)
        scheme.after_step()
        for old, now, p in zip(before, scheme.average.parameters(), group.branches.parameters(), strict=True):
            torch.testing.assert_close(now, (1 - share) * old + share * p)


def test_what_they_teach_each_other_gains_its_weight():
    epochs = [0.0, 2.0, 4.0]
    losses = []
    for epoch in epochs:
        scheme, group, batch = wired(together(ONE(), ensemble="gate", rise=4.0), epoch)
        z = torch.stack(answers(group, batch))
        pooled = group.students()["peer0"].model.layer1(batch.inputs).mean((2, 3))
        gate = group.ensemble.norm(group.ensemble.gate(pooled)).relu().softmax(1)
        parts = ONE()(z, torch.einsum("bk,kbc->bc", gate, z), targets=batch.targets)
        losses.append((played(scheme, batch)["one"] - parts["truth"].mean().item()) / parts["ensemble"].mean().item())
    assert losses == pytest.approx([0.0, 2.718281828 ** (-5 / 4), 1.0], abs=1e-4)


def test_the_losses_keep_their_options_while_the_weight_of_mutual_teaching_rises():
    for loss, count, ensemble in ((ONE(), 3, "gate"), (FFL(), 3, "feature_fusion"), (OKDDip(), 4, "attention")):
        options = loss.options()
        scheme, _, batch = wired(together(loss, count, ensemble, rise=4.0), 2.0)
        played(scheme, batch)
        assert loss.options() == options


def test_a_weight_is_balanced_by_the_gradients_of_all_students():
    scheme = together(CE() + 1.0 * KD(), split=None)
    (term,) = [term for term in scheme.players["peers"].peer_terms.values() if isinstance(term.loss, KD)]
    term.weight = GradientRatio(ratio=1.0)
    fit(scheme, DATA, epochs=1)
    scheme.players["peers"].peer_terms["kd"].weight.weight.fill_(1.0)
    norms = {f"peers/peer{k}/{name}": norm for k in range(3) for name, norm in (("ce", 3.0 + k), ("kd", 1.0))}
    after = scheme.balance(norms, epoch=0.0)
    assert after == {name: 4 * norm if name.endswith("kd") else norm for name, norm in norms.items()}
    assert scheme.weights() == {f"peers/peer{k}/kd": 4.0 for k in range(3)}


def test_dot_separates_the_gradients_of_what_they_teach_each_other(monkeypatch):
    separated = []
    stash = DOT.stash_teacher_gradients
    monkeypatch.setattr(DOT, "stash_teacher_gradients", lambda self: (separated.append(self), stash(self)))
    scheme = together(CE() + 1.0 * KD(), split=None)
    fit(scheme, DATA, dot=0.075, epochs=1, batch_size=16)
    assert len(separated) == DATA.steps(16)
    assert distillation_terms(scheme.terms()) == {f"peers/peer{k}/kd" for k in range(3)}


def test_the_terms_begin_with_what_an_earlier_stage_left():
    left, _, _ = wired(together(CE() + 1.0 * MCL(), split=None))
    with torch.no_grad():
        for p in left.method_terms().parameters():
            p.add_(1.0)
    state = {name: x.clone() for name, x in left.method_terms().state_dict().items()}
    networks = {f"peer{k}": Plain() for k in range(3)}
    terms = Terms.from_method(CE() + 1.0 * MCL(), initial_state=state)
    scheme, _, _ = wired(Collaborative(CollaborativePlayer(networks, terms, Classification()), DATA))
    assert state
    for name, value in scheme.method_terms().state_dict().items():
        assert torch.equal(value, state[name])
    terms = Terms.from_method(CE() + 1.0 * MCL(), initial_state={"fitnet.connectors.0.weight": torch.zeros(1)})
    with pytest.raises(ConfigError, match="that stage leaves parts of fitnet, and here mcl has any"):
        wired(Collaborative(CollaborativePlayer(networks, terms, Classification()), DATA))


@pytest.mark.parametrize("variant", ["minlogit", "naive", "linear"])
def test_kdcl_is_its_loss_of_separate_peers_in_any_order(variant):
    values = []
    for order in ((0, 1, 2), (2, 0, 1)):
        networks = {f"peer{k}": net("cnn2", k) for k in order}
        scheme, group, batch = wired(
            Collaborative(CollaborativePlayer(networks, Terms.from_method(KDCL(variant)), Classification()))
        )
        z = torch.stack(answers(group, batch))
        values.append(played(scheme, batch)["kdcl"])
        assert values[-1] == pytest.approx(total(KDCL(variant)(z, targets=batch.targets)), rel=1e-5)
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_kdcl_general_weighs_by_the_errors_on_the_validation_split_once_an_epoch():
    scheme, group, batch = wired(together(KDCL("general"), split=None))
    loss = played(scheme, batch)["kdcl"]
    seen = next(DATA.batches("val", 256, train=False))
    hot = nn.functional.one_hot(seen.targets, 10)
    errors = torch.stack([(z.softmax(1) - hot).flatten() for z in answers(group, seen)])
    weights = generalisation_weights(errors)
    z = torch.stack(answers(group, batch))
    expected = KDCL("general")(z, targets=batch.targets, peer_weights=weights)
    assert loss == pytest.approx(total(expected), rel=1e-4)
    with torch.no_grad():
        group.students()["peer0"].model.fc.weight.mul_(5)
    played(scheme, batch)
    torch.testing.assert_close(scheme.epoch_weights[1], weights)
    played(scheme, replace(batch, epoch=1.0))
    assert not torch.allclose(scheme.epoch_weights[1], weights)


def test_mcl_is_its_loss_of_the_embeddings_of_pairs_of_a_class():
    scheme = together(CE() + 1.0 * MCL(), split=None, others=1)
    batch = next(DATA.batches("train", 16, **scheme.batching))
    scheme.wire(batch, 48)
    group = scheme.players["peers"]
    nets = [student.model for student in group.students().values()]
    forwards = [m.register_forward_hook(lambda m, x, y: seen.append(m)) for m in nets]
    seen = []
    losses = played(scheme, batch)
    assert seen == nets
    for handle in forwards:
        handle.remove()
    assert torch.equal(batch.targets[:16], batch.targets[16:])
    assert not torch.equal(batch.index[:16], batch.index[16:])
    f = [m.layer2(m.layer1(batch.inputs)).mean((2, 3)) for m in nets]
    expected = {"mcl": total(group.embedding_terms["mcl"].loss(f, targets=batch.targets))}
    expected |= {
        f"peer{i}/ce": CE()(z, targets=batch.targets).mean().item() for i, z in enumerate(answers(group, batch))
    }
    assert losses == pytest.approx(expected, rel=1e-5)


def test_a_loss_of_embeddings_stands_beside_one_of_answers():
    scheme, group, batch = wired(together(KDCL() + 0.5 * MCL(), ensemble="none", split=None))
    f = [m.layer2(m.layer1(batch.inputs)).mean((2, 3)) for m in (s.model for s in group.students().values())]
    expected = {
        "kdcl": total(KDCL()(torch.stack(answers(group, batch)), targets=batch.targets)),
        "mcl": 0.5 * total(group.embedding_terms["mcl"].loss(f, targets=batch.targets)),
    }
    assert played(scheme, batch) == pytest.approx(expected, rel=1e-5)


def test_each_sees_an_augmentation_of_its_own_and_the_first_the_batch():
    data = tutelage.data.load("digits", limit=48, augment="shift")
    batch = replace(next(data.batches("train", 16, epoch=2)), epoch=2.0)
    scheme = together(KDCL(), split=None, data=data, own_views=True)
    scheme.wire(batch, 48)
    views = scheme._views(batch, 3)
    assert torch.equal(views[0], batch.inputs)
    assert not torch.equal(views[1], views[2])
    assert torch.equal(views[1], scheme._views(batch, 3)[1])
    ((_, losses),) = scheme.turns(batch, 0)
    z = [s.model(x) for s, x in zip(scheme.students().values(), views, strict=True)]
    assert losses["kdcl"].item() == pytest.approx(total(KDCL()(torch.stack(z), targets=batch.targets)), rel=1e-5)


def test_the_trunk_is_trained_and_every_branch_too():
    networks = {f"peer{k}": net("cnn2", k) for k in range(3)}
    scheme = Collaborative(
        CollaborativePlayer(networks, Terms.from_method(ONE()), Classification(), create_ensemble("gate"), "auto")
    )
    fit(scheme, DATA, lr=0.1)
    trunk = next(iter(scheme.students().values())).model.layer1[0].weight
    assert not torch.equal(trunk, net("cnn2", 0).layer1[0].weight)
    for k, student in enumerate(scheme.students().values()):
        assert student.model.layer1[0].weight is trunk
        for name in ("layer3.0.weight", "fc.weight"):
            assert not torch.equal(student.model.get_parameter(name), net("cnn2", k).get_parameter(name))


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="they share nothing: set split=auto"):
        wired(together(ONE(), ensemble="gate", split=None))
    with pytest.raises(ConfigError, match="set peers=4"):
        wired(together(OKDDip(), 2, "attention"))
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(ModelError, match="no stage, whose map could be fused; use ensemble=fusion"):
        create_ensemble("feature_fusion").layers(profile_model(flat, next(DATA.batches("val", 2))))
    with pytest.raises(ConfigError, match="did you mean 'gate'"):
        create_ensemble("gates")
    with pytest.raises(ConfigError, match="at least two students, got 1"):
        together(ONE(), 1)
    with pytest.raises(ConfigError, match="others=-1"):
        together(MCL(), others=-1)
    with pytest.raises(ConfigError, match="average=1"):
        together(ONE(), average=1)


def test_shared_layers_are_not_compiled(tmp_path):
    with pytest.raises(ConfigError, match="can't be compiled"):
        tutelage.distill(data="digits", method="one", recompute=True, out=str(tmp_path / "r"))
