"""Self-distillation: each step by hand with the catalogue's losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small import Dense, digits, fit, net, scenes

from tutelage import models, recipes
from tutelage.config.schema import check
from tutelage.errors import ConfigError
from tutelage.losses.functional.divergence import softened_kl
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.losses.response.zipf_ls import ZipfLS
from tutelage.losses.self_distillation.bake import BAKE
from tutelage.losses.self_distillation.ddgsd import DDGSD
from tutelage.losses.self_distillation.ps_kd import PSKD
from tutelage.losses.self_distillation.uskd import USKD
from tutelage.nn.model_profile import profile_model
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.dense_votes import DenseVotes, DenseVotesPlayer
from tutelage.schemes.in_batch_ensemble import EmbeddingPlayer, InBatchEnsemble
from tutelage.schemes.intermediate_feature import IntermediateFeature, IntermediateFeaturePlayer
from tutelage.schemes.last_batch import LastBatch, RepeatedBatchPlayer
from tutelage.schemes.offline import Offline
from tutelage.schemes.same_class import PairPlayer, SameClass
from tutelage.schemes.two_views import TwoViewPlayer, TwoViews
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification

TASK = Classification()
KINDS: dict[str, Any] = {
    "same_class": (SameClass, PairPlayer, CE() + 1.0 * KD(4.0)),
    "two_views": (TwoViews, TwoViewPlayer, 0.5 * CE() + DDGSD()),
    "last_batch": (LastBatch, RepeatedBatchPlayer, CE() + 1.0 * KD(3.0)),
    "batch_ensemble": (InBatchEnsemble, EmbeddingPlayer, CE() + BAKE()),
    "middle_feature": (IntermediateFeature, IntermediateFeaturePlayer, USKD()),
    "dense_votes": (DenseVotes, DenseVotesPlayer, CE() + ZipfLS()),
}


def made(name: str):
    scheme, player, method = KINDS[name]
    return scheme(player(net("cnn2"), Terms.from_method(method), TASK))


def wired(name: str):
    data = digits(64)
    scheme = made(name)
    batches = list(data.batches("train", 8, **scheme.batching))
    torch.manual_seed(5)
    scheme.wire(batches[0], 64)
    return scheme.train(), net("cnn2").train(), batches


def pooled(model, x):
    """Return the embedding of a cnn."""
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
            for network in (model, scheme.students()["student"].model):
                network.fc.weight.mul_(1.5)  # as if it were trained
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
    assert not scheme.last_logits.requires_grad


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
    loss = scheme.players["student"].terms.named_terms()["uskd"].loss
    losses = turn(scheme, batch)
    middle = model.layer2(model.layer1(batch.inputs)).mean((2, 3))
    parts = loss([model(batch.inputs), middle], targets=batch.targets)
    expected = torch.stack([x.mean() for x in parts.values()]).sum()
    assert torch.allclose(losses["uskd"], expected)


@pytest.mark.parametrize("enlarge", [1, 2])
@pytest.mark.parametrize("heads", [0, 1, 2])
def test_dense_votes_are_zipf_ls_by_hand(heads: int, enlarge: int):
    scheme = DenseVotes(
        DenseVotesPlayer(net("cnn2"), Terms.from_method(0.7 * CE() + ZipfLS()), TASK, heads, 0.25, enlarge)
    )
    batch, model = next(digits(32).batches("train", 8)), net("cnn2").train()
    scheme.wire(batch, 32)
    losses = turn(scheme.train(), batch)
    first = model.layer1(batch.inputs)
    maps = [first, model.layer2(first), model.layer3(model.layer2(first))]
    z = model.fc(maps[2].mean((2, 3)))
    maps, heads_of_stages = maps[2 - heads :], scheme.players["student"].heads
    assert len(heads_of_stages) == heads
    counts = torch.zeros(8, 10)
    for x, fc in zip(maps, [*heads_of_stages, model.fc], strict=True):
        big = F.interpolate(x, scale_factor=2, mode="bilinear") if enlarge == 2 else x
        for b in range(8):
            for position in big[b].flatten(1).T:
                counts[b, fc(position).argmax()] += 1
    ce = F.cross_entropy(z, batch.targets)
    for x, fc in zip(maps[:heads], heads_of_stages, strict=True):
        ce = ce + 0.25 * F.cross_entropy(fc(x.mean((2, 3))), batch.targets)
    zipf = 0.1 * ZipfLS()(z, targets=batch.targets, votes=counts).mean()
    assert not torch.allclose(zipf, 0.1 * ZipfLS()(z, targets=batch.targets).mean())
    assert torch.allclose(losses["ce"], 0.7 * ce)
    assert torch.allclose(losses["zipf_ls"], zipf)
    same_gradients(losses, scheme, 0.7 * ce + zipf, model)
    assert all(p.grad.any() for p in heads_of_stages.parameters())


def test_the_answer_is_ranked_where_no_votes_are_counted():
    config = check({"method": "zipf_ls", "scheme": "offline"})
    assert (config.scheme, config.teacher) == ("offline", None)
    player, batch = Player(net("cnn2"), Terms.from_method(CE() + ZipfLS()), TASK), next(digits(32).batches("train", 8))
    player.wire(None, batch, 32)
    z = net("cnn2").train()(batch.inputs)
    assert torch.allclose(player.train()(batch)["zipf_ls"], 0.1 * ZipfLS()(z, targets=batch.targets).mean())


@pytest.mark.parametrize("name", ["resnet8", "mobilenetv2_half", "vgg8", "wrn_16_1", "timm:vit_tiny_patch16_224"])
def test_a_last_stage_that_the_classifier_does_not_read_gets_its_own(name: str):
    torch.manual_seed(0)
    size = 224 if name.startswith("timm") else 32
    model = models.create(name, classes=5, channels=3, size=(size, size)).model
    scheme = DenseVotes(DenseVotesPlayer(model, Terms.from_method(CE() + ZipfLS()), TASK))
    batch = Batch(torch.randn(2, 3, size, size), torch.tensor([0, 1]), torch.arange(2))
    scheme.wire(batch, 8)
    player = scheme.players["student"]
    assert len(player.layers) == 3
    assert len(player.heads) + bool(player.classifier_name) == 3
    assert bool(player.classifier_name) == (name in ("resnet8", "vgg8", "mobilenetv2_half"))
    turn(scheme, batch)["ce"].backward()
    assert all(p.grad.isfinite().all() for p in player.heads.parameters())


@pytest.mark.parametrize(
    ("method", "batch", "message"),
    [
        (CE(), None, "no term of the method requires votes"),
        (CE() + ZipfLS(), scenes, "use scheme=offline, which ranks the response of each position"),
        (CE() + ZipfLS() + KD(), None, "requires teacher outputs"),
    ],
)
def test_votes_are_refused_where_there_can_be_none(method, batch, message: str):
    student, data = (Dense(), batch()) if batch else (net("cnn2"), digits(32))
    with pytest.raises(ConfigError, match=message):
        DenseVotes(DenseVotesPlayer(student, Terms.from_method(method), TASK)).wire(next(data.batches("train", 8)), 32)


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
    scheme = Offline(Player(net("cnn2"), Terms.from_method(loss), TASK))
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
    for student, past, inputs, values in rows[-1:]:
        assert inputs["epochs"] == 2
        soft = torch.stack([torch.zeros(10) if p is None else p for p in past])
        alpha = 0.8 * (int(inputs["epoch"]) + 1) / 2
        hard = F.one_hot(inputs["targets"], 10).float()
        seen = torch.tensor([p is not None for p in past])[:, None]
        target = torch.where(seen & (inputs["epoch"] >= 1), (1 - alpha) * hard + alpha * soft, hard)
        assert torch.allclose(values, -(target * student.log_softmax(1)).sum(1), atol=1e-6)


def test_a_loss_of_the_past_goes_by_the_papers_epochs_where_nobody_says():
    inputs = {"targets": torch.zeros(2).long(), "index": torch.arange(2), "epoch": 149.0}
    values = []
    for options, call_options in (({}, {}), ({"epochs": 300}, {}), ({}, {"epochs": 300}), ({}, {"epochs": 150})):
        loss = PSKD(**options)
        loss.build(torch.zeros(1, 3), None, 4)
        loss.predictions.fill_(1 / 3)
        values.append(loss(torch.tensor([[0.0, 1, 2], [2, 1, 0]]), **inputs, **call_options))
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2])
    assert not torch.equal(values[0], values[3])


def test_features_are_refused_where_only_answers_are_remembered():
    scheme = LastBatch(RepeatedBatchPlayer(net("cnn2"), Terms.from_method("at", TASK.task_loss()), TASK))
    with pytest.raises(ConfigError, match="stores logits, not features"):
        scheme.wire(next(digits().batches("train", 8, **scheme.batching)), 64)


def test_tf_kd_by_its_copy_trains_the_copy_as_the_student_alone():
    config = check({"method": "tf_kd_self"})
    assert (config.student_overrides()["teacher"], list(config.stage_overrides())) == ("stage:baseline", [])
    config = check({"method": "tf_kd_self", "baseline": False})
    assert (config.student_overrides()["teacher"], list(config.stage_overrides())) == ("stage:copy", ["copy"])
    assert (config.teacher, config.method) == (None, None)
    assert recipes.load("tf_kd")["teacher"] is None


def test_an_embedding_is_what_enters_the_classifier():
    scheme, _, (batch, *_) = wired("batch_ensemble")
    assert scheme.players["student"].embedding == profile_model(net("cnn2"), batch).embedding == "fc:in"
