"""Ranking from a configuration to a report: runs, refusals, checks and the teacher's judgement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import tutelage
from tutelage import data as datasets
from tutelage import models
from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError, ModelError
from tutelage.structures import Batch
from tutelage.tasks.ranking import Ranking
from tutelage.tasks.ranking_checks import judge_ndcg

KEYS = {"epochs": 2, "batch_size": 32, "seeds": 1, "device": "cpu"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Queries whose grades follow a feature, with noise."""
    rng = np.random.default_rng(0)
    for name, queries in (("train", 40), ("vali", 10), ("test", 20)):
        group = rng.integers(2, 12, queries)
        y = rng.integers(0, 4, group.sum())
        x = rng.normal(size=(len(y), 5))
        x[:, 2] += 2 * y
        np.savez(tmp_path / f"{name}.npz", x=x.astype(np.float32), y=y, group=group)
    return tmp_path


@pytest.fixture
def data(folder: Path) -> DataModule:
    return datasets.load(f"letor:{folder}")


METHODS = ["listnet", "listmle", "ranknet", "margin_mse", "ranking_distillation", "rrd+de", "logit_mse", "rkd"]


@pytest.mark.parametrize("method", METHODS)
def test_a_student_is_taught(method: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = tutelage.distill(
        "mlp-4", teacher="mlp-16", data=f"letor:{folder}", method=method, out=str(out), baseline=False, **KEYS
    )
    result = run.result
    assert (result["task"], result["metric"]) == ("ranking", "ndcg@10")
    assert result["teacher"]["ndcg@10"] > 0.6
    predictions = np.load(out / "student-0" / "predictions.npz")
    assert {"scores", "grades", "queries", "index"} <= {*predictions.files}
    assert "The student's worst queries" in (out / "report.html").read_text(encoding="utf-8").replace("’", "'").replace(
        "&#39;", "'"
    )
    network = tutelage.load(out)
    assert network(torch.zeros(3, 5)).shape == (3, 1)


def test_a_run_is_repeated_with_the_same_weights(folder: Path, tmp_path: Path) -> None:
    weights = []
    for name in ("a", "b"):
        tutelage.train("mlp-4", data=f"letor:{folder}", out=str(tmp_path / name), **KEYS)
        weights.append((tmp_path / name / "student.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_losses_of_classes_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="KD compares classes, and this task's outputs are scores"):
        tutelage.distill(
            "mlp-4", teacher="mlp-8", data=f"letor:{folder}", method="kd", out=str(tmp_path / "run"), **KEYS
        )


def test_losses_of_scores_are_refused_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"compares scores, and this task's outputs are classes|requires groups"):
        tutelage.distill("cnn2", teacher="cnn4", data="digits", method="margin_mse", out=str(tmp_path / "run"), **KEYS)


def test_the_task_takes_scores_with_and_without_a_dimension(data: DataModule) -> None:
    task = Ranking.from_data(data)
    batch = Batch(torch.zeros(4, 5), torch.ones(4), extras={"groups": torch.zeros(4, dtype=torch.int64)})
    assert task.response(torch.zeros(4), batch).shape == task.response(torch.zeros(4, 1), batch).shape == (4, 1)
    assert task.outputs(data) == 1
    assert task.fits(torch.zeros(4, 1), 1)
    assert not task.fits(torch.zeros(4, 2), 1)


def test_metrics_see_whole_queries_of_all_batches(data: DataModule) -> None:
    task = Ranking()
    metrics = [task.metrics(1) for _ in range(2)]
    for size, metric in zip((7, 1000), metrics, strict=True):
        for batch in data.batches("test", size):
            task.update(metric, batch.inputs[:, 2:3], batch)
    first, second = (metric.compute() for metric in metrics)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], equal_nan=True)
    assert first["ndcg@10"] > first["random_ndcg@10"]


def test_checks_report_queries_that_teach_nothing_and_repeated_documents(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 3)).astype(np.float32)
    y = np.tile([1, 0, 2, 0, 0], 6)
    y[:5], y[5:10] = 0, 3
    np.savez(tmp_path / "train.npz", x=x, y=y, group=[5] * 6)
    np.savez(tmp_path / "vali.npz", x=x[:5], y=[0, 1, 0, 1, 2], group=[5])
    np.savez(tmp_path / "test.npz", x=x[:5] + 1, y=[0, 1, 0, 1, 2], group=[5])
    findings = [finding.what for finding in Ranking().check_data(datasets.load(f"letor:{tmp_path}"))]
    assert findings == [
        "1 of 6 queries of train have no relevant document",
        "all documents have the same grade in 1 of 6 queries of train",
        "5 of 5 documents of val have the same features as one of train",
    ]


def test_sound_data_passes(data: DataModule) -> None:
    assert {finding.level for finding in Ranking().check_data(data)} <= {"ok", "warning"}


@pytest.mark.parametrize(("ndcg", "level"), [(0.55, "error"), (0.9, "ok")])
def test_a_teacher_is_compared_with_a_random_order(ndcg: float, level: str) -> None:
    assert judge_ndcg(ndcg, 0.6)[0].level == level


# recommenders


@pytest.mark.parametrize("name", ["mf4-9x20", "gru4-20"])
def test_recommenders_score_rows(name: str) -> None:
    model = models.create(name, classes=1, channels=12, task="ranking", size=()).model.eval()
    rows = torch.zeros(6, 12)
    rows[:, 0], rows[:, 1] = 9, torch.arange(15, 21)
    rows[3:, -2:] = torch.tensor([3.0, 7.0])
    scores = model(rows)
    assert scores.shape == (6, 1)
    torch.testing.assert_close(model(rows[torch.tensor([4, 2])]), scores[torch.tensor([4, 2])])
    rows[0, 1] = 21
    with pytest.raises(ModelError, match="the network has 20 items, and the data has the number 21"):
        model(rows)


def test_recommenders_are_taught(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    events = [(user, item, time) for user in range(9) for time, item in enumerate(rng.permutation(20)[:6])]
    (tmp_path / "log.csv").write_text("user,item,time\n" + "".join(f"u{u},i{i},{t}\n" for u, i, t in events))
    data = f"interactions:{tmp_path / 'log.csv'}"
    items = len({item for _, item, _ in events})
    for teacher, student, method in (
        (f"mf8-9x{items}", f"mf2-9x{items}", "rrd+de"),
        (f"gru8-{items}", f"gru2-{items}", "ranking_distillation"),
    ):
        out = tmp_path / method
        run = tutelage.distill(student, teacher=teacher, data=data, method=method, out=str(out), baseline=False, **KEYS)
        assert 0 <= run.result["student"]["ndcg@10"] <= 1
