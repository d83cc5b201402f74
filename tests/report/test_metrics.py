import math

import numpy as np
import pytest
from scipy.sparse import csr_array

from tutelage.report import metrics

TARGETS = np.array([0, 1, 1, 0])
STUDENT = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
TEACHER = np.array([[0.6, 0.4], [0.4, 0.6], [0.1, 0.9], [0.3, 0.7]])


def test_agreement_counts_the_same_most_probable_class():
    assert metrics.agreement(STUDENT, TEACHER) == 0.75


def test_divergence_is_that_of_the_student_from_the_teacher():
    by_hand = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert metrics.divergence(np.array([[0.25, 0.75]]), np.array([[0.5, 0.5]])) == pytest.approx(by_hand)
    assert metrics.divergence(TEACHER, TEACHER) == 0
    assert math.isfinite(metrics.divergence(np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])))


def test_outcomes_count_correct_models():
    assert metrics.outcomes(STUDENT, TEACHER, TARGETS) == {
        "both right": 0.5,
        "only the student right": 0.0,
        "only the teacher right": 0.25,
        "both wrong": 0.25,
    }


def test_calibration_error_by_hand():
    # confidences .9 (right), .8 (right), .7 (wrong), .6 (wrong), each in its own bin of 15
    assert metrics.calibration_error(STUDENT, TARGETS) == pytest.approx((0.1 + 0.2 + 0.7 + 0.6) / 4)
    # two bins: all four lie in (0.5, 1]: |accuracy 0.5 − confidence 0.75|
    assert metrics.calibration_error(STUDENT, TARGETS, bins=2) == pytest.approx(0.25)


def test_calibration_error_equals_torchmetrics():
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    random = np.random.default_rng(0)
    scores = random.random((300, 5)) ** 3
    probabilities, targets = scores / scores.sum(1, keepdims=True), random.integers(0, 5, 300)
    expected = multiclass_calibration_error(
        torch.tensor(probabilities), torch.tensor(targets), num_classes=5, n_bins=15
    )
    assert metrics.calibration_error(probabilities, targets) == pytest.approx(expected.item(), rel=1e-5)


def test_bins_are_closed_above_and_hold_every_sample():
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5]])
    table = metrics.reliability(probabilities, np.array([0, 0]), bins=2)
    assert [(b.low, b.high, b.count, b.accuracy) for b in table] == [(0.0, 0.5, 1, 1.0), (0.5, 1.0, 1, 1.0)]


def test_log_loss_by_hand():
    by_hand = -(math.log(0.9) + math.log(0.8) + math.log(0.3) + math.log(0.4)) / 4
    assert metrics.log_loss(STUDENT, TARGETS) == pytest.approx(by_hand)


def test_recall_overlap_and_errors_by_hand():
    confusion = csr_array([[8.0, 2.0, 0.0], [1.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(metrics.recall(confusion), [0.8, 0.75, np.nan])
    np.testing.assert_allclose(metrics.iou(confusion), [8 / 11, 3 / 6, np.nan])
    np.testing.assert_allclose(metrics.error_rates(confusion).toarray(), [[0, 0.2, 0], [0.25, 0, 0], [0, 0, 0]])


def test_largest_orders_by_absolute_value_without_zeros():
    assert metrics.largest(csr_array([[0.0, -0.3], [0.2, 0.0]]), 3) == [(0, 1, -0.3), (1, 0, 0.2)]


@pytest.mark.parametrize(
    ("norms", "ratio"), [({}, 1), ({"a": 2.0}, 1), ({"a": 2.0, "b": 0.01}, 200), ({"a": 1.0, "b": 0.0}, math.inf)]
)
def test_norm_ratio(norms, ratio):
    assert metrics.norm_ratio(norms) == pytest.approx(ratio)
