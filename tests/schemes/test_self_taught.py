"""Students that teach themselves: their steps are lines with the catalogue's losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small import digits, fit, net

from tutelage import recipes
from tutelage.config import check
from tutelage.errors import ConfigError
from tutelage.layers import Look
from tutelage.losses.divergence import softened_kl
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.losses.self.bake import BAKE
from tutelage.losses.self.ddgsd import DDGSD
from tutelage.losses.self.ps_kd import PSKD
from tutelage.losses.self.uskd import USKD
from tutelage.player import Player
from tutelage.schemes.batch_ensemble import BatchEnsemble, Embedding
from tutelage.schemes.last_batch import LastBatch, Repeated
from tutelage.schemes.middle_feature import MiddleFeature, WithMiddle
from tutelage.schemes.offline import Offline
from tutelage.schemes.same_class import Paired, SameClass
from tutelage.schemes.two_views import TwoViews, Viewed
from tutelage.tasks.classification import Classification
from tutelage.terms import Terms

TASK = Classification()
KINDS: dict[str, Any] = {
    "same_class": (SameClass, Paired, CE() + 1.0 * KD(4.0)),
    "two_views": (TwoViews, Viewed, 0.5 * CE() + DDGSD()),
    "last_batch": (LastBatch, Repeated, CE() + 1.0 * KD(3.0)),
    "batch_ensemble": (BatchEnsemble, Embedding, CE() + BAKE()),
    "middle_feature": (MiddleFeature, WithMiddle, USKD()),
}


def made(name: str):
    scheme, player, method = KINDS[name]
    return scheme(player(net("cnn2"), Terms.of(method), TASK))


def wired(name: str):
    data = digits(64)
    scheme = made(name)
    batches = list(data.batches("train", 8, **scheme.batching))
    torch.manual_seed(5)
    scheme.wire(batches[0], 64)
    return scheme.train(), net("cnn2").train(), batches


def pooled(model, x):
    """The embedding of a cnn."""
    return model.layer3(model.layer2(model.layer1(x))).mean((2, 3))


def turn(scheme, batch) -> dict[str, torch.Tensor]:
    ((name, losses),) = scheme.turns(batch, 0)
    assert name == "student"
    return losses


def same_gradients(losses, scheme, expected, model) -> None:
    torch.stack(list(losses.values())).sum().backward()
    expected.backward()
    for p, q in zip(scheme.students()["student"].model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, atol=1e-6)


def test_same_class_is_cs_kd_by_hand():
    scheme, model, (batch, *_) = wired("same_class")
    assert batch.targets[:8].equal(batch.targets[8:])
    losses = turn(scheme, batch)
    with torch.no_grad():
        told = model(batch.inputs[8:])
    z = model(batch.inputs[:8])
    ce, kd = F.cross_entropy(z, batch.targets[:8]), softened_kl(z, told, 4.0).mean()
    assert torch.allclose(losses["ce"], ce)
    assert torch.allclose(losses["kd"], kd)
    same_gradients(losses, scheme, ce + kd, model)


def test_two_views_are_ddgsd_by_hand():
    scheme, model, (batch, *_) = wired("two_views")
    losses = turn(scheme, batch)
    f = pooled(model, batch.inputs)
    z = model.fc(f)
    parts = DDGSD()([z[:8], f[:8]], [z[8:], f[8:]])
    ce, ddgsd = 0.5 * F.cross_entropy(z, batch.targets), parts["response"].mean() + parts["feature"]
    assert torch.allclose(losses["ce"], ce)
    assert torch.allclose(losses["ddgsd"], ddgsd)
    same_gradients(losses, scheme, ce + ddgsd, model)


def test_the_last_batch_is_dlb_by_hand():
    scheme, model, batches = wired("last_batch")
    told = None
    for batch in batches[:3]:
        with torch.no_grad():
            for one in (model, scheme.students()["student"].model):
                one.fc.weight.mul_(1.5)  # as if it had learned
        losses = turn(scheme, batch)
        new, old = model(batch.inputs[8:]), model(batch.inputs[:8])  # apart, for batch norm's sake
        z = torch.cat([old, new])
        told = z[:8].detach() if told is None else told
        ce, kd = F.cross_entropy(z, batch.targets), softened_kl(z[:8], told, 3.0).mean()
        assert torch.allclose(losses["ce"], ce)
        assert torch.allclose(losses["kd"], kd)
        told = z[8:].detach()
    assert kd > 0
    same_gradients(losses, scheme, ce + kd, model)
    assert not scheme.last.requires_grad


def test_the_batch_ensemble_is_bake_by_hand():
    scheme, model, (batch, *_) = wired("batch_ensemble")
    assert len(batch) == 32
    losses = turn(scheme, batch)
    f = pooled(model, batch.inputs)
    z = model.fc(f)
    ce, bake = F.cross_entropy(z, batch.targets), BAKE()(z, embedding=f).mean()
    assert torch.allclose(losses["ce"], ce)
    assert torch.allclose(losses["bake"], bake)
    same_gradients(losses, scheme, ce + bake, model)


def test_the_middle_feature_is_uskd_by_hand():
    scheme, model, (batch, *_) = wired("middle_feature")
    loss = scheme.players["student"].terms.named()["uskd"].loss
    losses = turn(scheme, batch)
    middle = model.layer2(model.layer1(batch.inputs)).mean((2, 3))
    parts = loss([model(batch.inputs), middle], targets=batch.targets)
    expected = torch.stack([x.mean() for x in parts.values()]).sum()
    assert torch.allclose(losses["uskd"], expected)


@pytest.mark.parametrize(("name", "forwards"), [("same_class", 2), ("two_views", 1), ("last_batch", 2)])
def test_each_sample_goes_once_through_the_student(name, forwards):
    scheme, _, (batch, *_) = wired(name)
    seen = []
    scheme.students()["student"].model.register_forward_pre_hook(lambda m, args: seen.append(len(args[0])))
    turn(scheme, batch)
    assert len(seen) == forwards
    assert sum(seen) == len(batch)


def test_past_predictions_follow_the_whole_training():
    """α of the e-th epoch is 0.8·e/epochs, and the past is what was said in training an epoch ago."""
    data, losses, loss = digits(32), [], PSKD()
    scheme = Offline(Player(net("cnn2"), Terms.of(loss), TASK))
    said, rows = {}, []

    def note(module, args, kwargs, values):
        student = args[0].detach()
        if module.training and len(rows) < 4:
            past = [said.get(int(i)) for i in kwargs["index"]]
            rows.append((student, past, kwargs, values.detach()))
            said.update(zip(kwargs["index"].tolist(), student.softmax(1), strict=True))
        losses.append(values)

    loss.register_forward_hook(note, with_kwargs=True)
    fit(scheme, data, epochs=2, batch_size=16)
    # the first call measures gradient norms, on the first batch
    for student, past, asked, values in rows[-1:]:
        assert asked["epochs"] == 2
        soft = torch.stack([torch.zeros(10) if p is None else p for p in past])
        alpha = 0.8 * (int(asked["epoch"]) + 1) / 2
        hard = F.one_hot(asked["targets"], 10).float()
        seen = torch.tensor([p is not None for p in past])[:, None]
        target = torch.where(seen & (asked["epoch"] >= 1), (1 - alpha) * hard + alpha * soft, hard)
        assert torch.allclose(values, -(target * student.log_softmax(1)).sum(1), atol=1e-6)


def test_a_loss_of_the_past_goes_by_the_papers_epochs_where_nobody_says():
    asked = {"targets": torch.zeros(2).long(), "index": torch.arange(2), "epoch": 149.0}
    values = []
    for options, told in (({}, {}), ({"epochs": 300}, {}), ({}, {"epochs": 300}), ({}, {"epochs": 150})):
        loss = PSKD(**options)
        loss.build(torch.zeros(1, 3), None, 4)
        loss.predictions.fill_(1 / 3)
        values.append(loss(torch.tensor([[0.0, 1, 2], [2, 1, 0]]), **asked, **told))
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2])
    assert not torch.equal(values[0], values[3])


def test_features_are_refused_where_only_answers_are_remembered():
    scheme = LastBatch(Repeated(net("cnn2"), Terms.of("at", TASK.truth()), TASK))
    with pytest.raises(ConfigError, match="remembers answers, no features"):
        scheme.wire(next(digits().batches("train", 8, **scheme.batching)), 64)


def test_tf_kd_by_its_copy_trains_the_copy_as_the_student_alone():
    config = check({"method": "tf_kd_self"})
    assert (config.last_words()["teacher"], list(config.stage_words())) == ("stage:alone", [])
    config = check({"method": "tf_kd_self", "baseline": False})
    assert (config.last_words()["teacher"], list(config.stage_words())) == ("stage:copy", ["copy"])
    assert (config.teacher, config.method) == (None, None)
    assert recipes.load("tf_kd")["teacher"] is None


def test_an_embedding_is_what_enters_the_classifier():
    scheme, _, (batch, *_) = wired("batch_ensemble")
    assert scheme.players["student"].embedding == Look(net("cnn2"), batch).embedding == "fc:in"
