"""Multi-label classification: metrics equal to scikit-learn's, unknown labels, checks, and runs from arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score, f1_score
from small import Crash, CrashAt
from torch import Tensor

import tutelage
from tutelage import data as datasets
from tutelage.errors import ConfigError, DataError
from tutelage.losses.response.bce import BCE
from tutelage.losses.response.bkd import BKD
from tutelage.objective.terms import Terms
from tutelage.structures import Batch, Outputs
from tutelage.tasks.label_checks import check_labels, judge_precision
from tutelage.tasks.multi_label import MultiLabel


def computed(logits: Tensor, targets: Tensor, size: int = 7) -> dict[str, Tensor]:
    """Return metrics and tables, given batch by batch."""
    metrics = MultiLabel().metrics(logits.shape[1])
    for start in range(0, len(targets), size):
        metrics.update(logits[start : start + size], targets[start : start + size])
    return metrics.compute()


def samples(kind: str) -> tuple[Tensor, Tensor]:
    logits, targets = torch.randn(60, 6), torch.randint(2, (60, 6)).float()
    if kind == "ties":
        logits = logits.round()
    if kind == "constant":
        logits = torch.zeros(60, 6)
    if kind == "rare":
        targets = (torch.rand(60, 6) < 0.05).float()
        targets[3] = 1
    if kind == "perfect":
        logits = 4 * targets - 2
    return logits, targets


@pytest.mark.parametrize("kind", ["random", "ties", "constant", "rare", "perfect"])
def test_metrics_equal_scikit_learns(kind):
    logits, targets = samples(kind)
    result, s, y = computed(logits, targets), logits.numpy(), targets.numpy()
    assert float(result["map"]) == pytest.approx(average_precision_score(y, s, average="macro"), abs=1e-12)
    for average in ("macro", "micro"):
        expected = f1_score(y, s >= 0, average=average, zero_division=0)
        assert float(result[f"{average}_f1"]) == pytest.approx(expected, abs=1e-12)
    assert result["labels_left_out"] == 0


def test_labels_without_positives_are_left_out_and_counted():
    logits, targets = samples("random")
    targets[:, [1, 4]] = 0
    result, kept = computed(logits, targets), [0, 2, 3, 5]
    expected = average_precision_score(targets[:, kept], logits[:, kept], average="macro")
    assert float(result["map"]) == pytest.approx(expected, abs=1e-12)
    assert float(result["macro_f1"]) == pytest.approx(f1_score(targets[:, kept], logits[:, kept] >= 0, average="macro"))
    assert float(result["micro_f1"]) == pytest.approx(f1_score(targets, logits >= 0, average="micro"))
    assert result["labels_left_out"] == 2
    assert result["labels"][1, 2].isnan()
    nothing = computed(logits, torch.zeros(60, 6))
    assert [float(nothing[name]) for name in ("map", "macro_f1", "micro_f1")] == [0, 0, 0]


def test_unknown_labels_count_in_no_metric():
    logits, targets = samples("random")
    targets[torch.rand(60, 6) < 0.3] = -1
    result = computed(logits, targets)
    by_label = [average_precision_score(y[y >= 0], s[y >= 0]) for s, y in zip(logits.T, targets.T, strict=True)]
    assert float(result["map"]) == pytest.approx(np.mean(by_label), abs=1e-12)
    known = targets >= 0
    assert float(result["micro_f1"]) == pytest.approx(f1_score(targets[known], logits[known] >= 0))
    assert result["labels"][:, 0].tolist() == known.sum(0).tolist()


@pytest.mark.parametrize("kind", ["random", "ties", "rare"])
def test_the_best_threshold_is_that_of_all_thresholds(kind):
    logits, targets = samples(kind)
    for row, s, y in zip(computed(logits, targets)["labels"], logits.T.sigmoid().double(), targets.T, strict=True):
        tried = [f1_score(y, s >= cut - 1e-9, zero_division=0) for cut in s.unique().tolist()]
        assert float(row[4]) == pytest.approx(max(tried), abs=1e-9)
        assert f1_score(y, s >= float(row[3]) - 1e-6) == pytest.approx(max(tried), abs=1e-9)


# losses


def test_unknown_labels_count_in_no_loss_of_responses():
    task, batch = MultiLabel(), Batch(torch.zeros(4, 2), torch.tensor([[1.0, -1], [0, 1], [-1, -1], [1, 0]]))
    sides = [torch.randn(4, 2) for _ in range(2)]
    terms = Terms.from_method([BKD(), "logit_mse", "output_l1"], task.task_loss())
    terms.fit_kind(task.response_kind)
    before = terms(*(Outputs(side) for side in sides), batch, task.mask(batch))
    assert list(before) == ["bce", "bkd", "logit_mse", "output_l1"]
    changed = [torch.where(batch.targets < 0, side + 5 * torch.randn(4, 2), side) for side in sides]
    after = terms(*(Outputs(side) for side in changed), batch, task.mask(batch))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_weight_of_positives_is_one_of_each_label():
    student, targets = torch.randn(5, 3), torch.randint(2, (5, 3)).float()
    plain, weighted = BCE()(student, targets=targets), BCE(pos_weight=[1.0, 2.0, 3.0])(student, targets=targets)
    factors = torch.where(targets > 0, torch.tensor([1.0, 2, 3]), torch.ones(3))
    torch.testing.assert_close(weighted, plain * factors.flatten())
    with pytest.raises(ConfigError, match=r"2 weights \(pos_weight\) for 3 labels"):
        BCE(pos_weight=[1.0, 2.0])(student, targets=targets)


def test_losses_of_classes_are_refused():
    with pytest.raises(ConfigError, match="KD compares classes, and this task's outputs are labels"):
        Terms.from_method("kd", BCE()).fit_kind("labels")


# checks


@pytest.mark.parametrize(("value", "level"), [(0.22, "error"), (0.4, "warning"), (0.8, "ok")])
def test_a_teacher_is_compared_with_the_labels_frequencies(value, level):
    table = torch.tensor([[100.0, 10, 0.5, 0.5, 0.5], [100, 30, 0.5, 0.5, 0.5], [100, 0, torch.nan, 0.5, 0]])
    (finding,) = judge_precision(value, table, 0.5)
    assert finding.level == level
    assert "chance is 0.200" in finding.what


# runs


def write_scenes(path, count: int = 160, **more) -> str:
    """Images with a bright square in some of their quarters: each quarter's label."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (count, 4)).astype(np.int64)
    x = rng.integers(0, 60, (count, 12, 12, 3), dtype=np.uint8)
    for number, (top, left) in enumerate([(0, 0), (0, 6), (6, 0), (6, 6)]):
        x[y[:, number] > 0, top + 1 : top + 5, left + 1 : left + 5, number % 3] += 150
    y[rng.random((count, 4)) < 0.1] = -1
    arrays = {"x_train": x, "y_train": y, "label_names": np.array(["nw", "ne", "sw", "se"])}
    np.savez(path, **(arrays | more))
    return f"npz:{path}"


KEYS = {
    "teacher": "cnn8", "student": "cnn4", "method": "bkd", "epochs": 4, "teacher_epochs": 8, "lr": 0.05,
    "batch_size": 16, "augment": "none", "device": "cpu", "log_every": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    return tutelage.distill(data=write_scenes(folder / "scenes.npz"), **KEYS, out=str(folder / "run"))


def test_a_run_learns_labels_and_its_files_and_report_have_them(run):
    assert (run.result["task"], run.result["metric"]) == ("multi_label", "map")
    assert run.result["teacher"]["map"] > 0.7
    kept = np.load(run.folder / "student-0" / "predictions.npz")
    assert kept["targets"].shape == kept["probabilities"].shape == (32, 4)
    assert {*np.unique(kept["targets"])} == {-1, 0, 1}
    table = np.load(run.folder / "student-0" / "tables.npz")["labels"]
    assert table[:, 2].mean() == pytest.approx(run.result["student"]["map"])
    page = run.report.read_text("utf-8")
    assert "Average precision by label" in page
    assert "F1 by threshold" in page
    assert "Confusions" not in page


def test_the_loaded_student_names_its_labels(run):
    model = tutelage.load(run.folder)
    assert model.card.classes == ("nw", "ne", "sw", "se")
    assert model(torch.zeros(2, 3, 12, 12)).shape == (2, 4)
    figures = tutelage.evaluate(run.folder).values
    assert figures["map"] == pytest.approx(run.result["student"]["map"])


def test_a_run_that_was_killed_resumes_to_the_same_student(run, tmp_path):
    keys = KEYS | {"data": run.result["data"]["name"], "teacher": str(run.folder), "checkpoint_every": 3}
    keys |= {"epochs": 2, "baseline": False}
    whole = tutelage.distill(**keys, out=str(tmp_path / "whole"))
    with pytest.raises(Crash):
        tutelage.distill(**keys, out=str(tmp_path / "torn"), callbacks=[CrashAt(11)])
    again = tutelage.resume(tmp_path / "torn")
    one, other = (load_file(r.folder / "student-0" / "model.safetensors") for r in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_cached_teacher_teaches_labels(run, tmp_path):
    keys = KEYS | {"data": run.result["data"]["name"], "teacher": str(run.folder), "epochs": 2, "baseline": False}
    plain = tutelage.distill(**keys, out=str(tmp_path / "plain"))
    cached = tutelage.distill(
        **keys, cache=str(tmp_path / "cache"), cache_storage="exact", out=str(tmp_path / "cached")
    )
    assert cached.result["student"]["map"] == pytest.approx(plain.result["student"]["map"])


def test_the_default_method_is_refused_with_those_for_labels(run, tmp_path):
    with pytest.raises(ConfigError, match="compares classes, and this task's outputs are labels"):
        tutelage.distill(**KEYS | {"data": run.result["data"]["name"], "method": "kd"}, out=str(tmp_path / "kd"))


def test_data_are_checked(tmp_path):
    data = datasets.load(write_scenes(tmp_path / "a.npz"))
    (finding,) = check_labels(data)
    assert finding.level == "ok"
    assert "aren't known" in finding.what
    targets = data.train.targets.clone()
    targets[:, 0], targets[:, 1] = 0, 1
    poor = replace(data, train=type(data.train)(data.train.inputs, targets, data.train.rows))
    assert [f.what for f in check_labels(poor)] == [
        "no training samples with the label(s) nw", "no training samples without the label(s) ne"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"label_names": ["a", "b", "c"]}, "y_train has 4 columns: expected a different name for each"),
        ({"label_names": ["a", "b", "c", "c"]}, "expected a different name for each"),
        ({"y_train": np.full((160, 4), 2)}, "y_train, row 0, has 2 for nw: expected 1"),
        ({"y_train": np.full((160, 4), 0.5)}, "row 0, has 0.5 for nw"),
        ({"y_train": np.full((160, 4), "x")}, "y_train is <U1"),
        ({"y_train": np.zeros(160, int)}, "y_train has 160 columns"),
        ({"y_train": np.array(3)}, "y_train has 1 columns"),
        ({"y_train": np.zeros((9, 4))}, "160 samples in x_train, 9 targets"),
        ({"x_test": np.zeros((9, 12, 12, 3), np.uint8)}, "no y_test"),
        ({"x_test": np.zeros((9, 12, 12, 3), np.uint8), "y_test": np.zeros((9, 3))}, "expected numbers"),
    ],
)
def test_label_sets_that_cant_be_meant_are_refused(tmp_path, more, message):
    with pytest.raises(DataError, match=message):
        datasets.load(write_scenes(tmp_path / "a.npz", **more))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher": ["cnn2", "cnn2"], "ensemble": "probabilities"}, "averages probabilities of classes"),
        ({"teacher": "cnn2", "cache": True, "cache_storage": "top2"}, "keeps the largest logits of classes"),
    ],
)
def test_what_requires_one_class_is_refused(tmp_path, options, message):
    x, y = np.zeros((60, 8, 8), np.uint8) + np.arange(60, dtype=np.uint8)[:, None, None], np.eye(4, dtype=int)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y[np.arange(60) % 4], label_names=np.array([*"abcd"]))
    keys = {"data": f"npz:{tmp_path}/a.npz", "student": "cnn2", "method": "bkd", "epochs": 1, "teacher_epochs": 1}
    with pytest.raises(ConfigError, match=message):
        tutelage.distill(**keys | options, out=str(tmp_path / "run"))
