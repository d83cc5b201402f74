"""Imbalanced classes: metrics equal to scikit-learn's, weights of classes, balanced draws, other decisive metrics."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score
from sklearn.utils.class_weight import compute_class_weight

import tutelage
from tutelage import data as datasets
from tutelage.data.balancing import balance
from tutelage.errors import ConfigError
from tutelage.losses.response.ce import CE
from tutelage.tasks.class_weights import effective_number, weights_of_classes, weights_of_labels
from tutelage.tasks.classification import Classification


@pytest.mark.parametrize("kind", ["random", "absent class", "absent prediction", "one class"])
def test_metrics_equal_scikit_learns(kind):
    torch.manual_seed(0)
    logits, y = torch.randn(50, 4), torch.randint(4, (50,))
    if kind == "absent class":
        y[y == 2] = 1
        logits[:, 2] -= 100 * (torch.arange(50) % 2)
    if kind == "absent prediction":
        logits[:, 3] = -100
    if kind == "one class":
        y[:] = 1
    metrics = Classification().metrics(4)
    for part in range(0, 50, 8):
        metrics.update(logits[part : part + 8], y[part : part + 8])
    result, p = metrics.compute(), logits.argmax(1)
    with pytest.warns() if not {*p.tolist()} <= {*y.tolist()} else np.errstate():
        assert float(result["balanced_accuracy"]) == pytest.approx(balanced_accuracy_score(y, p))
    assert float(result["macro_f1"]) == pytest.approx(f1_score(y, p, average="macro"))
    present = sorted({*y.tolist()})
    recall = recall_score(y, p, average=None, labels=present)
    assert result["recall"][present].tolist() == pytest.approx(recall)


def test_balanced_weights_are_scikit_learns_and_effective_ones_the_papers():
    y = torch.tensor([0] * 90 + [1] * 9 + [2])
    counts = torch.bincount(y)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y.numpy())
    assert weights_of_classes("balanced", counts) == pytest.approx(expected)
    slow = np.array([(1 - 0.9999**n) / (1 - 0.9999) for n in counts.tolist()])
    assert effective_number(counts).tolist() == pytest.approx(slow)
    assert weights_of_classes("effective", counts) == pytest.approx((1 / slow) / (1 / slow).sum() * 3)
    assert weights_of_classes([1, 2, 3], counts) == [1, 2, 3]
    with pytest.raises(ConfigError, match="2 weights for 3 classes: give one each"):
        weights_of_classes([1, 2], counts)


def test_weights_of_labels_are_negative_by_positive_samples():
    sets = torch.tensor([[1.0, 0], [0, 0], [0, 1], [0, -1]])
    assert weights_of_labels("balanced", sets) == [3, 2]
    assert weights_of_labels("effective", sets) == pytest.approx([3, 2], rel=1e-3)


def test_weights_multiply_the_loss_of_their_class():
    logits, y = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    torch.testing.assert_close(CE(class_weights=[1.0, 2.0, 0.5])(logits, targets=y),
                               CE()(logits, targets=y) * torch.tensor([1, 2, 0.5])[y])  # fmt: skip
    with pytest.raises(ConfigError, match="2 class_weights for 3 classes"):
        CE(class_weights=[1.0, 2.0])(logits, targets=y)


def skewed(path) -> str:
    """Images of two classes, 9 to 1."""
    rng = np.random.default_rng(0)
    y = (np.arange(200) % 10 == 0).astype(np.int64)
    x = rng.integers(0, 120, (200, 8, 8), dtype=np.uint8) + 60 * y[:, None, None].astype(np.uint8)
    np.savez(path, x_train=x, y_train=y)
    return f"npz:{path}"


def test_balanced_draws_have_each_class_equally_often(tmp_path):
    data = balance(datasets.load(skewed(tmp_path / "a.npz")))
    drawn = torch.cat([batch.targets for epoch in range(10) for batch in data.batches("train", 20, epoch=epoch)])
    assert float(drawn.float().mean()) == pytest.approx(0.5, abs=0.05)
    in_order = torch.cat([batch.targets for batch in data.batches("val", 20)])
    assert float(in_order.float().mean()) < 0.2
    again, other = (next(data.batches("train", 20, seed=s)).index.tolist() for s in (0, 1))
    assert again == next(data.batches("train", 20)).index.tolist() != other
    with pytest.raises(ConfigError, match="has a WeightedRandomSampler already"):
        balance(data)


KEYS = {
    "student": "cnn2", "teacher": "cnn4", "epochs": 2, "teacher_epochs": 2, "batch_size": 16, "device": "cpu",
    "augment": "none", "log_every": 50,
}  # fmt: skip


def test_another_metric_decides_and_weights_are_recorded(tmp_path):
    keys = KEYS | {"data": skewed(tmp_path / "a.npz"), "metric": "balanced_accuracy", "keep": "best"}
    run = tutelage.distill(**keys, class_weights="balanced", balance=True, out=str(tmp_path / "run"))
    assert run.result["metric"] == "balanced_accuracy"
    phase = json.loads((run.folder / "student-0" / "phase.json").read_text())
    assert phase["figures"]["balanced_accuracy"] == run.result["student"]["values"][0]
    assert "balanced_accuracy" in phase["val"]
    (weights,) = [t["options"]["class_weights"] for t in phase["terms"] if t["name"] == "ce"]
    assert weights[1] > 5 * weights[0]
    assert "balanced_accuracy" in run.report.read_text("utf-8")
    assert np.load(run.folder / "student-0" / "tables.npz")["recall"].shape == (2,)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"metric": "f1"}, "unknown metric 'f1'"),
        ({"metric": "map"}, "unknown metric 'map'"),
        ({"class_weights": [1.0, 2.0, 3.0]}, "3 weights for 2 classes"),
        ({"class_weights": [1.0, -2.0]}, "class_weights"),
        ({"class_weights": "even"}, "class_weights"),
    ],
)
def test_metrics_and_weights_that_cant_be_meant_are_refused(tmp_path, keys, message):
    with pytest.raises(ConfigError, match=message):
        tutelage.distill(**KEYS | {"data": skewed(tmp_path / "a.npz")} | keys, out=str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"class_weights": "balanced"}, "Regression has no weights of classes"),
        ({"balance": True}, "balance=true: requires a single class per sample"),
    ],
)
def test_values_have_no_classes_to_balance(tmp_path, keys, message):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "v.npz", x_train=rng.normal(size=(60, 3)), y_train=rng.normal(size=60))
    values = {"data": f"npz:{tmp_path / 'v.npz'}", "method": "logit_mse", "student": "mlp-4", "teacher": "mlp-8"}
    with pytest.raises(ConfigError, match=message):
        tutelage.distill(**KEYS | values | keys, out=str(tmp_path / "run"))


def test_weights_of_a_loss_that_the_method_replaces_are_refused():
    keys = {"data": "digits", "teacher": "cnn2", "student": "cnn2", "epochs": 1, "limit": 64, "method": "ce+kd"}
    with pytest.raises(ConfigError, match="class_weights weigh the task loss, and the method has ce in its place"):
        tutelage.distill(**keys, class_weights="balanced")
