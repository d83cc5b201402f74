"""Several label columns: losses, figures and teachers by column, from the arrays to the run's files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small import Plain, net, scenes
from torch import Tensor, nn

import tutelage
from tutelage import data as datasets
from tutelage.config.schema import check
from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError, DataError
from tutelage.losses.feature.at import AT
from tutelage.losses.response.ce import CE
from tutelage.losses.response.dkd import DKD
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.objective.wiring import Wiring
from tutelage.recipes import load as recipe
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, Outputs
from tutelage.tasks.classification import Classification
from tutelage.tasks.confusion import confusion_matrix
from tutelage.tasks.multi_task import MultiTask
from tutelage.teachers.cached import Cached, CachePlan
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.specialists import Specialists
from tutelage.training.evaluation import evaluate

SIZES = (3, 2)
TARGETS = torch.tensor([[2, 0], [-1, 1], [0, -100], [1, -1]])
SMALL = {"epochs": 1, "limit": 100, "batch_size": 16, "device": "cpu", "baseline": False, "data": "digits-tasks"}
TASK = MultiTask({"shade": 3, "side": 2})


def batch(targets: Tensor = TARGETS) -> Batch:
    torch.manual_seed(0)
    return Batch(torch.randn(len(targets), 1, 8, 8), targets, torch.arange(len(targets)), columns=SIZES)


def taught(method, truth=None, targets: Tensor = TARGETS) -> tuple[Offline, Batch]:
    """A student of both columns and a teacher of each."""
    torch.manual_seed(1)
    members = [Frozen(Plain(size), Classification()) for size in SIZES]
    teacher = Specialists(members, [("a", "b", "c"), ("d", "e")], ("a", "b", "c", "d", "e"))
    scheme = Offline(Player(Plain(5), Terms.from_method(method, truth), TASK), teacher)
    seen = batch(targets)
    scheme.wire(seen, 20)
    return scheme, seen


def answers(scheme: Offline, seen: Batch) -> tuple[Tensor, list[Tensor]]:
    said = scheme.players["student"].student.model(seen.inputs)
    return said, [member.unfolded[0](seen.inputs) for member in scheme.teacher.member_teachers()]


# losses


def test_bam_is_the_mixed_targets_loss_in_each_column_and_leaves_out_missing_labels() -> None:
    scheme, seen = taught(recipe("bam", {"epochs": 4})["method"])
    seen = replace(seen, epoch=1.0)  # λ = ¼
    losses = next(scheme.turns(seen, 0))[1]
    said, told = answers(scheme, seen)
    shade = F.cross_entropy(said[[0], :3], torch.tensor([2])) + F.cross_entropy(said[[2], :3], torch.tensor([0]))
    shade = (shade + F.cross_entropy(said[[3], :3], torch.tensor([1]))) / 3
    side = (F.cross_entropy(said[[0], 3:], torch.tensor([0])) + F.cross_entropy(said[[1], 3:], torch.tensor([1]))) / 2
    assert torch.allclose(losses["ce"], 0.25 * (shade + side) / 2, atol=1e-6)
    p, q = [z.softmax(1) for z in told], [said[:, :3].log_softmax(1), said[:, 3:].log_softmax(1)]
    divergences = [(t * (t.log() - s)).sum(1).mean() for t, s in zip(p, q, strict=True)]
    assert torch.allclose(losses["kd"], 0.75 * torch.stack(divergences).mean(), atol=1e-6)


def test_bams_gradient_is_that_of_the_annealed_target() -> None:
    full = torch.tensor([[2, 0], [0, 1], [0, 1], [1, 0]])
    scheme, seen = taught(recipe("bam", {"epochs": 4})["method"], targets=full)
    seen = replace(seen, epoch=3.0)
    torch.stack(list(next(scheme.turns(seen, 0))[1].values())).sum().backward()
    model = scheme.players["student"].student.model
    ours = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    said, told = answers(scheme, seen)
    parts = []
    for number, span in enumerate((slice(0, 3), slice(3, 5))):
        mixed = 0.75 * F.one_hot(full[:, number], SIZES[number]) + 0.25 * told[number].softmax(1)
        parts.append(F.cross_entropy(said[:, span], mixed))
    torch.stack(parts).mean().backward()
    for mine, p in zip(ours, model.parameters(), strict=True):
        assert torch.allclose(mine, p.grad, atol=1e-6)
    assert all(p.grad is None for p in scheme.teacher.parameters())


@pytest.mark.parametrize("loss", [CE(), KD(), DKD()], ids=lambda loss: type(loss).__name__)
def test_a_columns_loss_has_no_gradient_on_the_others_logits(loss) -> None:
    one = torch.tensor([[2, -1], [1, -1], [0, -1]])
    said, told = torch.randn(3, 5, requires_grad=True), torch.randn(3, 5)
    if not loss.required_inputs():  # it takes all samples: let the second column agree
        told[:, 3:] = said.detach()[:, 3:]
    term = Term(loss, 1.0)
    term.wiring = Wiring("response", columns=SIZES)
    value = term(Outputs(said), Outputs(told), Batch(torch.zeros(3, 1), one, columns=SIZES))
    value.backward()
    assert said.grad[:, :3].abs().sum() > 0
    assert said.grad[:, 3:].abs().max() < 1e-7
    alone = Term(type(loss)(), 1.0)
    by_itself = alone(Outputs(said[:, :3]), Outputs(told[:, :3]), Batch(torch.zeros(3, 1), one[:, 0]))
    assert torch.allclose(value, by_itself / 2, atol=1e-6)


def test_a_batch_without_any_label_costs_nothing() -> None:
    scheme, seen = taught(CE(), targets=torch.full((3, 2), -1))
    value = next(scheme.turns(seen, 0))[1]["ce"]
    value.backward()
    assert value == 0
    assert all(p.grad.abs().sum() == 0 for p in scheme.players["student"].student.parameters())


def test_each_teacher_answers_once_and_features_go_as_they_are() -> None:
    scheme, seen = taught([KD(), Term(AT(), 1.0, student="layer2", teacher="1.layer2")], TASK.task_loss())
    calls = []
    for m, member in enumerate(scheme.teacher.member_teachers()):
        member.register_forward_hook(lambda *_, m=m: calls.append(m))
    told = scheme.teacher(seen, scheme.layers)
    assert calls == [0, 1]
    assert torch.equal(told.response, torch.cat([member.response for member in told.member_outputs], dim=1))
    assert told.metadata["columns"] == [[0, 1, 2], [3, 4]]
    assert next(scheme.turns(seen, 0))[1]["at"] > 0


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("aver", "compares with several teachers class by class, and these know different classes"),
        ("uhc", "each of them outputs a label column of its own"),
        ("ctkd", "can't be computed label column by label column"),
        ({"name": "kd", "temperature": {"name": "learned"}}, "can't be computed label column by label column"),
        ("camkd_feature", "these know different classes"),
    ],
)
def test_what_cannot_be_taken_by_column_is_refused(method, words) -> None:
    with pytest.raises(ConfigError, match=words):
        taught([method])


# figures


def test_figures_are_of_each_column_and_their_mean() -> None:
    said = torch.tensor([[5.0, 0, 0, 1, 0], [0, 5, 0, 1, 0], [0, 0, 5, 0, 1], [5, 0, 0, 0, 1]])
    truth = torch.tensor([[0, 0], [1, 1], [1, -1], [-100, -1]])
    found = evaluate(nn.Identity(), [Batch(said, truth, torch.arange(4), columns=SIZES)], TASK, 5, keep=True)
    assert found.values["accuracy/shade"] == pytest.approx(2 / 3)
    assert found.values["accuracy/side"] == pytest.approx(1 / 2)
    assert found.values["accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    by_hand = [F.cross_entropy(said[:3, :3], truth[:3, 0]), F.cross_entropy(said[:2, 3:], truth[:2, 1])]
    assert found.values["loss"] == pytest.approx(float(sum(by_hand)) / 2, rel=1e-6)
    confusion = confusion_matrix(found.tables["confusion"], 5)
    assert confusion[:3, :3].tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert confusion[3:, 3:].tolist() == [[1, 0], [1, 0]]
    assert confusion.sum() == 5
    assert not found.predictions


# data


def arrays(path: Path, **changed) -> str:
    y = np.stack([np.arange(60) % 3, np.arange(60) // 3 % 2], axis=1)
    y[5, 1], y[6, 0] = -1, -100
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    given = {"x_train": x, "y_train": y, "columns": np.array(["shade", "side"]), "classes_side": np.array(["l", "r"])}
    np.savez(path, **{key: value for key, value in (given | changed).items() if value is not None})
    return f"npz:{path}"


def test_arrays_with_columns(tmp_path: Path) -> None:
    data = datasets.load(arrays(tmp_path / "a.npz"))
    assert (data.task, data.columns) == ("multi_task", {"shade": 3, "side": 2})
    assert data.classes == ("shade=0", "shade=1", "shade=2", "side=l", "side=r")
    every = torch.cat([b.targets for s in ("train", "val", "test") for b in data.batches(s, 64, train=False)])
    assert (every < 0).sum(0).tolist() == [1, 1]
    assert next(data.batches("train", 4)).columns == (3, 2)
    side = data.column("side")
    assert (side.task, side.classes, side.column_name, side.columns) == ("classification", ("l", "r"), "side", {})
    assert sum(len(getattr(side, split)) for split in ("train", "val", "test")) == 59
    assert datasets.load(arrays(tmp_path / "b.npz", classes_side=None)).fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"columns": None}, "array `columns` that names the K labels"),
        ({"columns": np.array(["shade"])}, "y_train has 2 label columns: expected two or more columns"),
        ({"columns": np.array(["side", "side"])}, "columns with different names"),
        ({"classes_side": np.array(["l"])}, "labels up to 1 in y_train and the classes l"),
        ({"y_train": np.zeros((60, 2))}, r"float64 of shape \(60, 2\): expected integers \(N, K\)"),
        ({"y_train": np.zeros(60, int)}, r"expected integers \(N, K\)"),
        ({"y_train": np.full((60, 2), -2)}, "the label -2: expected labels from 0"),
        (
            {"y_train": np.stack([np.arange(60) % 2, np.full(60, -1)], 1)},
            "no sample of train has a label in",
        ),
        ({"x_test": np.zeros((4, 8, 8), np.uint8), "y_test": np.full((4, 2), 2)}, "label 2, beyond the 2 classes"),
        ({"x_test": np.zeros((4, 8, 8), np.uint8), "y_test": np.ones((4, 3), int)}, "y_test has 3 label columns"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, changed, words) -> None:
    with pytest.raises(DataError, match=words):
        datasets.load(arrays(tmp_path / "a.npz", **changed))


def test_columns_must_add_up_and_be_there() -> None:
    part = scenes(4).train
    with pytest.raises(ConfigError, match="expected 2 classes in total"):
        DataModule("x", "multi_task", ("a", "b"), 3, (8, 8), (0.5,) * 3, (0.3,) * 3, part, part, part, columns={"a": 3})
    with pytest.raises(ConfigError, match="did you mean 'parity'"):
        datasets.load("digits-tasks").column("paritj")
    with pytest.raises(ConfigError, match="its samples have a single label"):
        datasets.load("digits").column("parity")


def test_the_digits_of_tasks_are_split_as_the_digits() -> None:
    tasks, plain = datasets.load("digits-tasks"), datasets.load("digits")
    assert tasks.columns == {"digit": 10, "parity": 2, "five": 2}
    for split in ("train", "val", "test"):
        assert torch.equal(getattr(tasks.column("digit"), split).labels, getattr(plain, split).labels)
    y = next(tasks.batches("test", 400, train=False)).targets
    assert torch.equal(y[:, 1], y[:, 0] % 2)
    assert torch.equal(y[:, 2], (y[:, 0] >= 5).long())


# runs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tutelage.distill(method="bam", out=str(tmp_path_factory.mktemp("runs") / "bam"), **SMALL)


def test_a_run_trains_a_teacher_for_each_column_and_a_plain_student(run) -> None:
    assert list(run.result["before"]) == ["teacher0", "teacher1", "teacher2"]
    student = tutelage.load(run.folder)
    assert student.fc.out_features == 14
    assert student.card.columns == {"digit": 10, "parity": 2, "five": 2}
    assert student.state_dict().keys() == net("cnn2").state_dict().keys()
    second = tutelage.load(run.folder / "teacher1" / "model.safetensors")
    assert (second.card.column, second.card.classes) == ("parity", ("even", "odd"))
    columns = run.result["student"]["columns"]
    assert run.result["student"]["accuracy"] == pytest.approx(sum(columns.values()) / 3)
    teachers = [run.result["before"][f"teacher{m}"]["accuracy"] for m in range(3)]
    assert list(run.result["teacher"]["columns"].values()) == pytest.approx(teachers)
    assert "by label column" in run.report.read_text()


def test_its_networks_are_evaluated_on_their_columns(run) -> None:
    assert tutelage.evaluate(run.folder).values["accuracy"] == pytest.approx(run.result["student"]["accuracy"])
    second = tutelage.evaluate(run.folder / "teacher1" / "model.safetensors").values
    assert second["accuracy"] == pytest.approx(run.result["before"]["teacher1"]["accuracy"])
    with pytest.raises(ConfigError, match="was made for 14 classes"):
        tutelage.evaluate(run.folder, data="digits")


def test_trained_teachers_from_the_cache_leave_the_same_student(run, tmp_path: Path) -> None:
    teachers = [str(run.folder / f"teacher{m}" / "model.safetensors") for m in range(3)]
    keys = SMALL | {"method": "bam", "teacher": teachers, "augment": "none"}
    keys |= {"limit": 96}  # whole batches: an answer's last bit may depend on how many are asked with it
    live = tutelage.distill(out=str(tmp_path / "live"), **keys)
    cached = tutelage.distill(out=str(tmp_path / "kept"), cache=str(tmp_path / "cache"), cache_storage="exact", **keys)
    assert (live.folder / "student.safetensors").read_bytes() == (cached.folder / "student.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="cache_storage=top2 keeps the largest of all logits"):
        tutelage.distill(out=str(tmp_path / "top"), cache=True, cache_storage="top2", **keys)
    swapped = keys | {"teacher": [teachers[0], teachers[2], teachers[1]]}
    with pytest.raises(ConfigError, match="five, five or more"):
        tutelage.distill(out=str(tmp_path / "swapped"), **swapped)


def test_a_crash_costs_no_bit(tmp_path: Path, monkeypatch) -> None:
    class Crash(Exception):
        pass

    def crash(self) -> None:
        self.count = getattr(self, "count", 0) + 1
        if self.count == 8:
            raise Crash

    keys = SMALL | {"method": "bam", "teacher_epochs": 0, "epochs": 2, "checkpoint_every": 0}
    whole = tutelage.distill(out=str(tmp_path / "whole"), **keys)
    with monkeypatch.context() as patch:
        patch.setattr(Offline, "after_step", crash)
        with pytest.raises(Crash):
            tutelage.distill(out=str(tmp_path / "again"), **keys)
    again = tutelage.resume(tmp_path / "again")
    assert (again.folder / "student.safetensors").read_bytes() == (whole.folder / "student.safetensors").read_bytes()


def test_members_keep_their_own_answers_in_the_cache(tmp_path: Path) -> None:
    data = datasets.load("digits-tasks", limit=32, augment="none")
    members = [Frozen(net("cnn2", m, data.column(name)), Classification()) for m, name in enumerate(data.columns)]
    names = [[c for c in data.classes if c.startswith(name)] for name in data.columns]
    live = Specialists(members, names, data.classes)
    kept = Cached(live, data, CachePlan(tmp_path, storage="exact", views=1, batch_size=16))
    kept.prepare_for([], member_outputs=True)
    seen = next(data.batches("train", 16, views=1))
    assert torch.equal(kept(seen).response, live(seen).response)
    assert [m.response.shape[1] for m in kept(seen).member_outputs] == [10, 2, 2]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"teacher": ["cnn2", "cnn2"]}, "label columns digit, parity, five; expected a model or run folder for each"),
        ({"method": "aver"}, "these know different classes"),
        ({"method": "kd", "ensemble": "probabilities"}, "the teachers were trained on different classes"),
        ({"method": "kd", "column": "paryti"}, "did you mean 'parity'"),
        ({"method": "kd", "data": "digits", "column": "parity"}, "its samples have a single label"),
        ({"method": "kd", "labels_per_class": 2}, "requires a single class per sample"),
        ({"method": "cs_kd"}, "requires each sample's class"),
        ({"method": "kdcl_general"}, "requires one class of each sample"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(tmp_path: Path, keys, words) -> None:
    with pytest.raises(tutelage.TutelageError, match=words):
        tutelage.distill(out=str(tmp_path / "run"), **SMALL | {"method": "bam"} | keys)
    assert not (tmp_path / "run").exists()


def test_a_network_of_another_column_with_the_same_classes_is_refused(tmp_path: Path) -> None:
    y = np.stack([np.arange(60) % 2, np.arange(60) // 2 % 2], axis=1)
    keys = {"epochs": 1, "data": arrays(tmp_path / "a.npz", y_train=y, classes_side=None)}
    second = tutelage.train("cnn2", out=str(tmp_path / "side"), column="side", **keys)
    assert second.result["task"] == "classification"
    with pytest.raises(ConfigError, match=r"can't teach shade .* was trained on side"):
        tutelage.distill("cnn2", [str(second.folder), "cnn2"], out=str(tmp_path / "run"), **keys)


def test_multi_task_weighs_truth_and_teachers_alike_and_one_column_needs_one_teacher() -> None:
    weights = [term["weight"] for term in recipe("multi_task")["method"]]
    assert weights == [0.5, 0.5]
    assert check({"method": "multi_task", "data": "digits-tasks"}).teacher == ["cnn8"] * 3
    assert check({"method": "bam", "data": "digits-tasks", "column": "digit"}).teacher == "cnn32"
    assert check({"method": "bam"}).teacher == "cnn32"
