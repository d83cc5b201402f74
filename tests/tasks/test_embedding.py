"""Embeddings: runs from a configuration, their outputs and losses, and the data that they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small import digits
from typer.testing import CliRunner

import tutelage
from tutelage import data
from tutelage.cli import app
from tutelage.config.schema import check
from tutelage.data.data_module import SPLITS
from tutelage.data.splits import InMemorySplit
from tutelage.errors import ConfigError, DataError
from tutelage.runs import preflight
from tutelage.structures import Batch
from tutelage.tasks.embedding import Embedding

pytest.importorskip("pytorch_metric_learning")

QUICK = {"data": "digits", "split": "classes", "limit": 100, "epochs": 1, "device": "cpu"}
TASK = {"name": "embedding", "dim": 12}


def by_class() -> data.DataModule:
    return data.load("digits", split="classes")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run whose network searches among classes that it hasn't seen."""
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    tutelage.train("cnn4", out=str(folder), task=TASK, **QUICK)
    return str(folder)


def test_the_command_trains_teacher_baseline_and_student(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [*(f"{key}={value}" for key, value in QUICK.items()), "task={name: embedding, dim: 12, loss: arcface}"]
    words += ["seed=3", "teacher=cnn4", "student=cnn2", "method=rkd", f"out={folder}"]
    done = CliRunner().invoke(app, ["distill", *words])
    assert done.exit_code == 0, done.output
    result = json.loads((folder / "result.json").read_text())
    assert (result["task"], result["metric"]) == ("embedding", "recall_at_1")
    assert all(0 < result[role]["recall_at_1"] <= 1 for role in ("teacher", "baseline", "student"))
    arrays = np.load(folder / "student-0" / "predictions.npz")
    assert arrays["embeddings"].shape == (len(by_class().test), 12)
    assert "In the teacher" not in done.output
    assert "Queries by" in (folder / "report.html").read_text()
    evaluated = CliRunner().invoke(app, ["evaluate", str(folder)])
    assert f"{result['student']['recall_at_1']:.4f}" in evaluated.output


@pytest.mark.parametrize(
    "method",
    [
        "rkd", "hard_darkrank", "pkt", "crd", "relative_teacher", "seed", "compress", "logit_mse",
        {"name": "rkd", "task_loss_weight": 0}, {"name": "metric_learning", "kind": "contrastive"}, "fitnet",
    ],
    ids=str,
)  # fmt: skip
def test_a_method_teaches_vectors(method: object, teacher: str, tmp_path: Path) -> None:
    keys = QUICK | {"baseline": False, "method": method, "out": str(tmp_path / "run")}
    if method != {"name": "metric_learning", "kind": "contrastive"}:
        keys["teacher"] = teacher
    run = tutelage.distill(student="cnn2", task=TASK, **{"teacher": None, **keys})
    assert run.result["student"]["recall_at_1"] > 0
    terms = json.loads((tmp_path / "run" / "student-0" / "phase.json").read_text())["terms"]
    teacher_alone = method in ("seed", "compress", {"name": "rkd", "task_loss_weight": 0})
    assert ("metric_learning" in [term["name"] for term in terms]) != teacher_alone


def test_losses_of_embeddings_compare_the_vectors(teacher: str, tmp_path: Path) -> None:
    run = tutelage.distill(teacher, "cnn2", task=TASK, method="rkd", baseline=False, out=str(tmp_path / "run"), **QUICK)
    pairs = json.loads((Path(run.folder) / "student-0" / "phase.json").read_text())["pairs"]
    assert not pairs  # layers are named where some are compared
    with pytest.raises(ConfigError, match="KD compares classes, and this task's outputs are embedding"):
        tutelage.distill(teacher, "cnn2", task=TASK, method="kd", out=str(tmp_path / "kd"), **QUICK)


def test_the_same_run_resumes_and_repeats(tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        run = tutelage.train("cnn2", out=str(tmp_path / name), task=TASK | {"loss": "proxy_anchor"}, **QUICK)
        digests.append((Path(run.folder) / "student.safetensors").read_bytes())
    assert digests[0] == digests[1]


def test_proxies_are_those_of_the_training_classes() -> None:
    task = Embedding.from_data(by_class(), 6, "arcface", {"margin": 20})
    loss = task.task_loss()
    loss.build(torch.randn(2, 6), None, 10)
    assert [tuple(p.shape) for p in loss.parameters()] == [(6, 3)]  # of the ten classes
    assert loss.settings == {"margin": 20}
    assert not list(task.evaluation_loss().parameters())


def test_outputs_and_predictions() -> None:
    task = Embedding.from_data(by_class(), 7)
    assert task.outputs(by_class()) == 7
    assert task.describe_outputs(7) == "a vector of 7 numbers for each sample"
    assert task.fits(torch.zeros(3, 7), 7)
    batch = Batch(torch.zeros(3, 1), torch.arange(3))
    assert {name: x.shape for name, x in task.predictions(torch.zeros(3, 7), batch).items()} == {
        "targets": (3,), "embeddings": (3, 7),
    }  # fmt: skip
    metrics = task.metrics(7)
    metrics.update(torch.randn(8, 7), torch.arange(8) % 2)
    assert {*metrics.compute()} == {
        "recall_at_1", "recall_at_5", "recall_at_10", "map_at_r", "roc_auc", "eer", "tar_at_far_1e-2",
        "tar_at_far_1e-3",
    }  # fmt: skip


def test_options_are_checked() -> None:
    for task, fault in (
        ({"name": "embedding", "dim": 0}, "dim=0: expected a number of 1 or more"),
        ({"name": "embedding", "dims": 8}, "unknown option of task embedding 'dims': did you mean 'dim'"),
        ({"name": "embedding", "loss": "arc"}, "loss='arc': expected 'triplet'"),
        ({"dim": 8}, "it needs a name, such as {name: embedding}"),
        ({"name": "classification", "dim": 8}, "unknown option of task classification 'dim'"),
        ("embeding", "unknown task 'embeding': did you mean 'embedding'"),
    ):
        with pytest.raises(ConfigError, match=fault):
            check({"task": task})


def test_data_for_other_tasks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is for targets of the kind 'label', and those of digits-tasks are 'labels'"):
        tutelage.train("cnn2", data="digits-tasks", task="embedding", out=str(tmp_path))


def test_check_judges_the_classes_of_test_and_the_teacher(teacher: str) -> None:
    keys = {"task": TASK, "teacher": teacher, "student": "cnn2", "method": "rkd", **QUICK}
    findings = [finding.what for finding in preflight.check(check(keys)).findings]
    assert any("no class is in more than one split" in what for what in findings)
    assert any("the teacher's recall at 1 on the validation split is" in what for what in findings)
    same = preflight.check(check(keys | {"split": "samples", "teacher": "cnn4", "teacher_epochs": 1})).findings
    assert any(f.level == "warning" and "classes of test are also in train or val: 0, 1, 2" in f.what for f in same)


def refused(**labels: torch.Tensor | None) -> None:
    module = digits()
    for split, values in labels.items():
        samples = InMemorySplit(torch.zeros(6, 1, 8, 8), torch.zeros(6) if values is None else values)
        if values is None:
            samples.labels = None
        module = replace(module, **{split: samples})
    Embedding.from_data(module)


def test_data_in_which_a_search_has_no_meaning_is_refused() -> None:
    pairs = torch.tensor([0, 0, 1, 1, 2, 2])
    refused(**dict.fromkeys(SPLITS, pairs))
    with pytest.raises(DataError, match="the test split has a single sample of 2, 3, which no search can find"):
        refused(test=torch.tensor([0, 0, 1, 1, 2, 3]))
    with pytest.raises(DataError, match="requires a single class of each sample, which train doesn't have"):
        refused(train=torch.tensor([0, 0, 1, 1, 2, -1]))
    with pytest.raises(DataError, match="requires a single class of each sample, which val doesn't have"):
        refused(val=None)
    with pytest.raises(
        DataError, match=r"val has 6 sample\(s\) of 6 class\(es\), expected two or more classes, and sev"
    ):
        refused(val=torch.arange(6))
    with pytest.raises(DataError, match=r"test has 6 sample\(s\) of 1 class\(es\)"):
        refused(test=torch.zeros(6, dtype=torch.int64))
