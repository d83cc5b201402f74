"""Regression: metrics equal to the reference implementations, targets in their own units, and runs from tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics.regression as reference
from safetensors.torch import load_file
from scipy import stats
from sklearn.metrics import r2_score, root_mean_squared_error
from small import Crash, CrashAt
from torch import Tensor

import tutelage
from tutelage import data as datasets
from tutelage.data.value_targets import ValueTargets
from tutelage.errors import ConfigError, DataError
from tutelage.structures import Batch
from tutelage.tasks.regression import Regression
from tutelage.tasks.value_checks import check_values, judge_r2

ONE = ValueTargets(("price",), (100.0,), (20.0,))
TWO = ValueTargets(("price", "age"), (100.0, 5.0), (20.0, 2.0))


def figures(values: ValueTargets, estimates: Tensor, targets: Tensor, size: int = 7) -> dict[str, float]:
    """Return the metrics of raw estimates and targets, given batch by batch, scaled."""
    metrics = Regression(values).metrics(len(values.names))
    for start in range(0, len(targets), size):
        metrics.update(*(values.scale(x[start : start + size]) for x in (estimates, targets)))
    return {name: float(value) for name, value in metrics.compute().items()}


@pytest.mark.parametrize("kind", ["random", "ties", "equal"])
def test_metrics_equal_the_references_in_the_targets_units(kind):
    y = 100 + 20 * torch.randn(50, 1)
    s = {"random": y + 10 * torch.randn(50, 1), "ties": (y / 10).round() * 10, "equal": y.clone()}[kind]
    y = (y / 5).round() * 5 if kind == "ties" else y
    result, a, b = figures(ONE, s, y), s[:, 0].double(), y[:, 0].double()
    assert result["rmse"] == pytest.approx(root_mean_squared_error(b, a), rel=1e-5, abs=1e-4)
    assert result["mae"] == pytest.approx(reference.MeanAbsoluteError()(a, b).item(), rel=1e-5, abs=1e-4)
    assert result["r2"] == pytest.approx(r2_score(b, a), rel=1e-5)
    assert result["srcc"] == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-6)
    assert result["plcc"] == pytest.approx(reference.PearsonCorrCoef()(a, b).item(), abs=1e-5)
    assert result["krcc"] == pytest.approx(stats.kendalltau(a, b).statistic, abs=1e-6)


def test_a_constant_side_correlates_with_nothing():
    result = figures(ONE, torch.full((9, 1), 100.0), 100 + torch.randn(9, 1))
    assert [result[name] for name in ("srcc", "plcc", "krcc")] == [0, 0, 0]
    assert result["r2"] <= 0
    assert figures(ONE, torch.randn(5, 1), torch.full((5, 1), 3.0))["r2"] == 0


def test_several_targets_count_equally_and_have_metrics_of_their_own():
    y = torch.stack([100 + 20 * torch.randn(40), 5 + 2 * torch.randn(40)], dim=1)
    result = figures(TWO, y + torch.tensor([20.0, 2.0]), y)
    assert (result["rmse/price"], result["rmse/age"]) == pytest.approx((20, 2), rel=1e-4)
    assert result["rmse"] == pytest.approx(1, rel=1e-4)


def test_targets_are_scaled_by_the_training_split_and_restored():
    y = torch.tensor([[1e9], [1e9 + 2], [1e9 + 4]], dtype=torch.float64)
    values = ValueTargets.measure("x", ["y"], y)
    assert values.scale(y)[:, 0].tolist() == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])
    assert torch.allclose(values.restore(values.scale(y)), y, rtol=1e-12)
    factors, summands = TWO.conversion_from(ValueTargets(TWO.names, (0.0, 1.0), (1.0, 4.0)))
    raw = torch.tensor([[3.0, 9.0]], dtype=torch.float64)
    other = (raw - torch.tensor([0.0, 1.0])) / torch.tensor([1.0, 4.0])
    assert torch.allclose(other * torch.tensor(factors) + torch.tensor(summands), TWO.scale(raw).double())


@pytest.mark.parametrize(
    ("y", "message"),
    [([[1.0], [torch.nan]], "the target y of training sample 1 is nan"), ([[2.0], [2.0]], "is 2 in all 2")],
)
def test_targets_that_teach_nothing_are_refused(y, message):
    with pytest.raises(DataError, match=message):
        ValueTargets.measure("x", ["y"], torch.tensor(y))


def test_predictions_are_in_the_targets_units():
    batch = Batch(torch.zeros(2, 3), ONE.scale(torch.tensor([[80.0], [120.0]])))
    kept = Regression(ONE).predictions(torch.tensor([[0.0], [1.0]]), batch)
    assert kept["targets"].flatten().tolist() == pytest.approx([80, 120])
    assert kept["estimates"].flatten().tolist() == [100, 120]


@pytest.mark.parametrize(("r2", "level"), [(-0.5, "error"), (0.3, "warning"), (0.8, "ok")])
def test_a_teacher_is_compared_with_the_mean_and_a_linear_model(r2, level):
    assert [finding.level for finding in judge_r2(r2, 0.6)] == [level]


# runs


def write_table(path: Path, rows: int = 120, outlier: float = 0.0) -> str:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3)) * [1, 10, 100]
    y = 1000 + 50 * x[:, 0] + 3 * x[:, 1] + rng.normal(size=rows)
    y[0] += outlier
    person = np.arange(rows) // 4
    lines = [
        "a,b,c,person,price,tax",
        *(f"{a},{b},{c},p{p},{t},{t / 5}" for (a, b, c), p, t in zip(x, person, y, strict=True)),
    ]
    path.write_text("\n".join(lines) + "\n")
    return f"csv:{path}"


KEYS = {
    "target": "price", "drop": ["tax"], "teacher": "mlp-32", "student": "mlp-4", "method": "logit_mse", "epochs": 6,
    "teacher_epochs": 10, "lr": 0.05, "batch_size": 16, "group": "person", "device": "cpu", "log_every": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("regression")
    return tutelage.distill(data=write_table(folder / "prices.csv"), **KEYS, out=str(folder / "run"))


@pytest.fixture(scope="module")
def teacher(run, tmp_path_factory):
    """A run of a network that was trained without a teacher."""
    keys = {key: KEYS[key] for key in ("target", "drop", "group", "lr", "batch_size", "device")}
    out = str(tmp_path_factory.mktemp("teacher") / "run")
    return str(tutelage.train("mlp-32", data=run.result["data"]["name"], epochs=10, **keys, out=out).folder)


def test_a_run_estimates_and_its_files_and_report_say_so(run):
    assert run.result["metric"] == "rmse"
    assert run.result["teacher"]["rmse"] < 40  # the targets' deviation is 58
    kept = np.load(run.folder / "student-0" / "predictions.npz")
    error = np.sqrt(np.square(kept["targets"] - kept["estimates"]).mean())
    assert error == pytest.approx(run.result["student"]["rmse"], rel=1e-5)
    page = run.report.read_text("utf-8")
    assert "Estimates" in page
    assert "target price" in page
    assert "Confusions" not in page
    assert "left out" not in page


def test_the_loaded_student_estimates_in_units(run):
    model = tutelage.load(run.folder)
    inputs = model.preprocess([0.0, 0.0, 0.0])[None]
    assert 700 < float(model.card.restore(model(inputs).detach())) < 1300
    assert tutelage.evaluate(run.folder).values["rmse"] == pytest.approx(run.result["student"]["rmse"])


def test_the_program_in_the_report_runs(run, capsys):
    from tutelage.report.run_record import read
    from tutelage.report.usage import usage_code

    exec(usage_code(read(run.folder)), {})
    assert "price" in capsys.readouterr().out


@pytest.mark.parametrize("at", [3, 14, 30])
def test_a_crash_costs_no_bit(run, at, tmp_path):
    config = {"data": run.result["data"]["name"], **KEYS, "out": str(tmp_path / "run"), "checkpoint_every": 0}
    with pytest.raises(Crash):
        tutelage.distill(**config, callbacks=[CrashAt(at)])
    resumed = tutelage.resume(tmp_path / "run")
    assert (resumed.folder / "student.safetensors").read_bytes() == (run.folder / "student.safetensors").read_bytes()


def test_the_cached_teacher_is_the_live_one(run, teacher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {"data": run.result["data"]["name"], **KEYS, "teacher": teacher, "baseline": False, "batch_size": 21}
    live, cached = (
        tutelage.distill(**config, cache=c, cache_storage="exact", out=str(tmp_path / str(c))) for c in (False, True)
    )
    weights = [load_file(x.folder / "student.safetensors") for x in (live, cached)]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-6) for name in weights[0])


def test_a_teacher_that_was_trained_on_another_scale_teaches_in_the_students(run, teacher, tmp_path):
    """Other seeds cut other training splits, whose targets have another mean and deviation."""
    from tutelage.config.schema import check
    from tutelage.runs.run import Run

    config = {"data": run.result["data"]["name"], **KEYS, "teacher": teacher, "seed": 7, "out": str(tmp_path / "run")}
    dry = Run(check({k: v for k, v in config.items() if k != "teacher_epochs"}))
    data, card = dry.inputs.data, tutelage.load(teacher).card
    assert data.values != card.value_targets
    scheme, _ = dry.scheme(dry.phases()[-1])
    batch = next(data.batches("test", 8, train=False))
    raw = batch.inputs * torch.tensor(data.std) + torch.tensor(data.mean)
    inputs = (raw - torch.tensor(card.mean)) / torch.tensor(card.std)
    expected = card.restore(tutelage.load(teacher)(inputs).detach())
    assert torch.allclose(data.values.restore(scheme.teacher(batch).response), expected, rtol=1e-4)


def test_losses_of_classes_are_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="KD compares classes, and this task's outputs are values"):
        tutelage.distill(data=run.result["data"]["name"], **KEYS | {"method": "kd"}, out=str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="MSE compares values or maps, and this task's outputs are classes"):
        tutelage.distill(data="digits", method="mse", teacher="cnn4", teacher_epochs=1, out=str(tmp_path / "run"))


@pytest.mark.parametrize(
    "method", ["output_l1", "output_huber", "teacher_bounded_regression", "attentive_imitation", "huber", "mae", "rkd"]
)
def test_the_losses_of_values_train(run, teacher, method, tmp_path):
    keys = {"epochs": 1, "baseline": False, "teacher": teacher, "method": method}
    keys |= {"teacher": "none"} if method in ("huber", "mae") else {}
    done = tutelage.distill(data=run.result["data"]["name"], **KEYS | keys, out=str(tmp_path / "run"))
    assert done.result["student"]["rmse"] > 0


def test_an_ensembles_spread_weighs_its_mean(run, tmp_path):
    keys = {"teacher": ["mlp-8", "mlp-9"], "method": "uncertainty_weighted", "epochs": 1, "teacher_epochs": 1}
    done = tutelage.distill(data=run.result["data"]["name"], **KEYS | keys, baseline=False, out=str(tmp_path / "run"))
    assert set(done.result["before"]) == {"teacher0", "teacher1"}


def test_check_warns_of_outliers(tmp_path):
    clean, outlier = (
        datasets.load(write_table(tmp_path / f"{far}.csv", 400, far), target="price", drop=["tax", "person"])
        for far in (0.0, 1e5)
    )
    assert [x.level for x in check_values(clean)] == ["ok"]
    assert "1 training target(s) of price" in check_values(outlier)[0].what or len(outlier.train) < 400
