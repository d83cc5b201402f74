import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torchmetrics.functional.classification import multiclass_calibration_error

from tutelage.explanation import calibration


def rows(seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(400, 5, generator=generator)
    targets = torch.multinomial((logits / scale).softmax(1), 1, generator=generator)[:, 0]
    return logits, targets


def test_ece_is_that_of_torchmetrics():
    logits, targets = rows()
    expected = multiclass_calibration_error(logits.softmax(1), targets, num_classes=5, n_bins=15, norm="l1")
    assert calibration.scores(logits, targets)["ECE"] == pytest.approx(float(expected), abs=1e-6)


def test_brier_of_sure_and_of_even_predictions():
    targets = torch.tensor([0, 1])
    assert calibration.brier(100 * F.one_hot(targets, 2).float(), targets) == pytest.approx(0)
    assert calibration.brier(torch.zeros(2, 2), targets) == pytest.approx(0.5)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_best_temperature_minimises_the_nll(scale):
    logits, targets = rows(scale=scale)
    found = minimize_scalar(
        lambda t: float(F.cross_entropy(logits.double() / t, targets)), bounds=(0.05, 20), method="bounded",
        options={"xatol": 1e-8},
    )  # fmt: skip
    assert calibration.best_temperature(logits, targets) == pytest.approx(found.x, rel=1e-3)


def test_best_temperature_of_a_network_that_is_always_right_is_the_least():
    targets = torch.arange(5)
    assert calibration.best_temperature(F.one_hot(targets, 5).float(), targets) == pytest.approx(0.05, rel=1e-3)


def test_temperature_comes_from_validation_and_improves_there(figures, opened):
    values = figures(calibration)["scores"].values
    val = opened.responses("val")
    for role, of_seeds in val.by_role.items():
        t = values[role]["best temperature"].values[0]
        before, after = (float(F.cross_entropy(of_seeds[0] / x, val.targets)) for x in (1, t))
        assert after <= before + 1e-6
    assert set(values) == {"teacher", "baseline", "student"}
