"""Trainings on mixed batches: the loss of soft targets, the same mixtures for all, and refusals."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small import digest, digits, fit, net, offline, scenes, settings

import tutelage
from tutelage.data.mixing import PARTNER, SHARE
from tutelage.errors import ConfigError
from tutelage.losses.relation.crd import CRD
from tutelage.losses.response.ce import CE
from tutelage.losses.response.dkd import DKD
from tutelage.losses.response.kd import KD
from tutelage.losses.response.nkd import NKD
from tutelage.losses.response.online_label_smoothing import OnlineLabelSmoothing
from tutelage.losses.response.wsld import WSLD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.mixup_self import MixupPlayer, MixupSelf
from tutelage.schemes.mutual import Mutual
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.tasks.embedding import Embedding
from tutelage.teachers.base import Teacher
from tutelage.training.batches import TrainingBatches

FABRIC = SimpleNamespace(world_size=1, global_rank=0, device=torch.device("cpu"))
QUICK = {"limit": 64, "epochs": 1, "teacher_epochs": 1, "batch_size": 16, "device": "cpu", "augment": "none"}


def batches(data, mix="mixup", **changes) -> TrainingBatches:
    return TrainingBatches(data, settings(mix=mix, **changes), FABRIC, {})


def test_cross_entropy_is_that_of_the_soft_targets():
    data = digits(64)
    player = Player(net("cnn2"), Terms.from_method(2.0 * CE()), Classification())
    batch = next(batches(data, {"name": "mixup", "alpha": 1.0}).train(0))
    player.wire(None, batch, 64)
    share, partner = batch.extras[SHARE], batch.extras[PARTNER]
    soft = share * F.one_hot(batch.targets, 10) + (1 - share) * F.one_hot(partner, 10)
    logits = player.forward_student(batch).response
    loss = player(batch)["ce"]
    expected = 2 * F.cross_entropy(logits, soft)
    assert abs(loss.item() - expected.item()) < 1e-6
    parameter = player.student.model.fc.weight
    (gradient,), (reference,) = (torch.autograd.grad(x, parameter, retain_graph=True) for x in (loss, expected))
    assert torch.allclose(gradient, reference, atol=1e-6)


@pytest.mark.parametrize("start", [0, 1, 3])
def test_a_batch_is_the_same_wherever_an_epoch_begins(start):
    data = digits(64)
    whole = list(batches(data, "mixup+cutmix").train(1))
    torch.manual_seed(start)
    rest = list(batches(data, "mixup+cutmix").train(1, start))
    assert len(rest) == 4 - start
    for a, b in zip(whole[start:], rest, strict=True):
        assert a.inputs.equal(b.inputs)
        assert a.extras[SHARE] == b.extras[SHARE]
        assert a.extras[PARTNER].equal(b.extras[PARTNER])


def test_each_process_mixes_its_own_part_by_the_same_share():
    data = digits(64)
    ranks = [SimpleNamespace(world_size=2, global_rank=rank, device=torch.device("cpu")) for rank in (0, 1)]
    first, second = (next(TrainingBatches(data, settings(mix="mixup"), rank, {}).train(0)) for rank in ranks)
    assert len(first) == len(second) == 8
    assert {*first.index.tolist()}.isdisjoint(second.index.tolist())
    assert first.extras[SHARE] == second.extras[SHARE]  # losses that gather the samples of all weigh them alike


def test_validation_batches_stay_as_they_are():
    data = digits(64)
    for a, b in zip(batches(data).validation(0), batches(data, None).validation(0), strict=True):
        assert a.inputs.equal(b.inputs)
        assert PARTNER not in a.extras


def test_the_teacher_and_all_students_see_the_same_mixtures():
    seen: list[torch.Tensor] = []

    class Watch(Teacher):
        def forward(self, batch: Batch, layers=()):
            seen.append(batch.inputs)
            return self.inner(batch, layers)

    data = digits(32)
    scheme = offline(data)
    watch = Watch()
    watch.inner, watch.profile, watch.prepare_for = scheme.teacher, scheme.teacher.profile, scheme.teacher.prepare_for
    students = {name: Player(net("cnn2", 2), Terms.from_method(KD(), CE()), Classification()) for name in "ab"}
    for player in students.values():
        player.student.model.register_forward_pre_hook(lambda module, x: seen.append(x[0]))
    two = Offline(students, watch)
    batch = next(batches(data).train(0))
    two.wire(batch, 32)
    seen.clear()
    assert [name for name, _ in two.turns(batch, 0)] == ["a", "b"]
    assert len(seen) == 3
    assert all(x is batch.inputs for x in seen)


def test_mixing_changes_the_student_and_its_absence_nothing():
    data = digits(64)
    plain, mixed = (digest(fit(offline(data), data, **changes)) for changes in ({}, {"mix": "mixup"}))
    assert plain != mixed
    assert plain == digest(fit(offline(data), data, mix=None))


@pytest.mark.parametrize("loss", [DKD, NKD, WSLD, CRD])
def test_losses_that_take_the_one_class_or_sample_are_refused(loss):
    data = digits(64)
    with pytest.raises(ConfigError, match=rf"mix=mixup: term '.*': {loss.__name__} takes .* a mixture"):
        fit(offline(data, loss()), data, mix="mixup")


def test_state_for_each_class_is_refused():
    data = digits(64)
    alone = Offline(Player(net("cnn2"), Terms.from_method(OnlineLabelSmoothing()), Classification()))
    with pytest.raises(ConfigError, match="keeps state for each class, and a mixture has two classes: use ce"):
        fit(alone, data, mix="mixup")


def test_a_scheme_that_mixes_itself_is_refused():
    scheme = MixupSelf(MixupPlayer(net("cnn2"), Terms.from_method(1.0 * KD(), CE()), Classification()))
    with pytest.raises(ConfigError, match="scheme=mixed, with these options, makes up its batches itself"):
        fit(scheme, digits(32), mix="mixup")


def test_masks_are_refused():
    data = scenes()
    with pytest.raises(ConfigError, match="task=segmentation has targets of single positions, which don't mix"):
        fit(offline(data), data, mix="cutmix")


def test_metric_learning_is_refused():
    data = digits(32)
    scheme = Offline(Player(net("cnn2"), Terms.from_method(CE()), Embedding.from_data(data, dim=8)))
    with pytest.raises(ConfigError, match="task=embedding compares samples with each other"):
        fit(scheme, data, mix="mixup")


def test_peers_and_accumulated_gradients_train_on_mixtures():
    data = digits(64)
    method, task = CE() + 1.0 * KD(1.0), Classification()
    players = {f"peer{k}": Player(net("cnn2", k), Terms.from_method(method), task) for k in (0, 1)}
    fit(Mutual(players), data, mix="mixup+cutmix", accumulate=2, channels_last=True)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cache": True}, "a cache has outputs for samples: remove cache"),
        ({"method": "dkd"}, "DKD takes the class beside the teacher's outputs"),
        (
            {"scheme": "last_batch", "teacher": None},
            "scheme=last_batch, with these options, makes up its",
        ),
        (
            {
                "scheme": {"name": "together", "own_views": True},
                "method": "ce+kdcl",
                "teacher": None,
                "augment": "shift",
            },
            "scheme=together, with",
        ),
        ({"data": {"labelled": "digits", "unlabelled": "digits"}}, "has the streams labelled, unlabelled"),
        ({"mix": "mixpu"}, "'mixup', 'cutmix' or 'mixup\\+cutmix'"),
        ({"mix": {"name": "mixup", "alpha": 0.0}}, "mix.alpha=0.0"),
        ({"mix": {"name": "mixup", "beta": 1.0}}, "mix.beta"),
        ({"mix": {"alpha": 1.0}}, "mix"),
    ],
)
def test_what_a_configuration_contradicts_is_refused_before_any_step(keys, message, tmp_path):
    usual = {"teacher": "cnn4", "student": "cnn2", "data": "digits", "mix": "mixup", "out": str(tmp_path / "run")}
    with pytest.raises(ConfigError, match=message):
        tutelage.distill(**(usual | QUICK | keys))
    assert not (tmp_path / "run").exists()


def test_cutmix_of_rows_and_mixtures_for_trees_are_refused(tmp_path):
    keys = QUICK | {"data": write_rows(tmp_path), "target": "price", "out": str(tmp_path / "run")}
    with pytest.raises(ConfigError, match=r"cutmix takes a box of positions, and .* has none"):
        tutelage.train("mlp-8", mix="cutmix", **keys)
    with pytest.raises(ConfigError, match="mix=mixup has no effect on student=tree"):
        tutelage.train("tree", mix="mixup", **keys)


def write_rows(folder) -> str:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(80, 3))
    lines = ["a,b,price", *(f"{a},{b},{a + 2 * b + 0.1 * noise}" for a, b, noise in table)]
    (folder / "rows.csv").write_text("\n".join(lines))
    return f"csv:{folder / 'rows.csv'}"


def test_a_run_of_classes_shows_its_mixing(tmp_path):
    mix = {"name": "mixup+cutmix", "alpha": 0.8, "probability": 0.9}
    keys = {"seeds": 2, "method": "kd+fitnet", "teacher": ["cnn2", "cnn4"], "mix": mix}
    done = tutelage.distill(student="cnn2", data="digits", **QUICK, **keys, out=str(tmp_path / "run"))
    assert 0 <= done.result["student"]["accuracy"] <= 1
    assert "mixup+cutmix" in done.report.read_text("utf-8")


def test_a_run_of_label_sets(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(256, size=(64, 8, 8, 3), dtype=np.uint8), rng.integers(-1, 2, (64, 3))
    np.savez(tmp_path / "sets.npz", x_train=x, y_train=y, label_names=np.array(["a", "b", "c"]))
    keys = {"teacher": "cnn4", "student": "cnn2", "method": "bkd", "mix": "cutmix"}
    done = tutelage.distill(data=f"npz:{tmp_path / 'sets.npz'}", **QUICK, **keys, out=str(tmp_path / "run"))
    assert done.result["task"] == "multi_label"


def test_a_run_of_values(tmp_path):
    keys = {"teacher": "mlp-16", "student": "mlp-8", "method": "mse+output_l1", "mix": "mixup", "target": "price"}
    done = tutelage.distill(data=write_rows(tmp_path), **(QUICK | keys), out=str(tmp_path / "run"))
    assert done.result["task"] == "regression"


def test_a_run_of_several_label_columns(tmp_path):
    done = tutelage.train("cnn2", data="digits-tasks", mix="mixup", **QUICK, out=str(tmp_path / "run"))
    assert done.result["task"] == "multi_task"


def test_check_tells_how_batches_are_mixed():
    from tutelage.config.schema import read
    from tutelage.runs import preflight

    trial = preflight.check(read(teacher="cnn4", student="cnn2", data="digits", mix="cutmix", **QUICK))
    assert "training batches are mixed by cutmix (α 1)" in [finding.what for finding in trial.findings]
