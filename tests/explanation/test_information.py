import math
from statistics import fmean

import pytest
import torch
from sklearn.metrics import adjusted_mutual_info_score

from tutelage.explanation import information


def column(classes: int, rows: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(classes, (rows,), generator=generator)


def guess(y: torch.Tensor, classes: int, generator: torch.Generator) -> torch.Tensor:
    """Predictions of which 70 % are right and the others even."""
    sure = torch.rand(len(y), generator=generator) < 0.7
    return torch.where(sure, y, column(classes, len(y), generator))


def test_mutual_information_is_scikit_learn_s_adjusted_one_in_nats():
    generator = torch.Generator().manual_seed(0)
    a = column(10, 400, generator)
    b = guess(a, 10, generator)
    most = min(information.entropy_of(x.numpy()) for x in (a, b))
    expected = adjusted_mutual_info_score(a.numpy(), b.numpy(), average_method="min") * most
    assert information.mutual_information(a, b, 10) == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize(("classes", "rows"), [(10, 359), (100, 5000)])
def test_independent_predictions_share_nothing_and_equal_ones_all(classes, rows):
    """Frequencies alone find 0.25 to 1 nats here in predictions that are independent or err independently."""
    mutual, conditional = [], []
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        y = column(classes, rows, generator)
        a, b = (guess(y, classes, generator) for _ in range(2))
        mutual.append(information.mutual_information(y, column(classes, rows, generator), classes))
        conditional.append(information.conditional_information(a, b, y, classes))
    assert abs(fmean(mutual)) < 0.02
    assert abs(fmean(conditional)) < 0.02
    assert information.mutual_information(a, a, classes) == pytest.approx(information.entropy_of(a.numpy()))
    assert information.conditional_information(a, a, y, classes) > 0.9


def test_the_right_share_is_found_in_a_sparse_table():
    generator = torch.Generator().manual_seed(0)
    y = column(100, 5000, generator)
    right, wrong = 0.7 + 0.3 / 100, 0.3 / 100
    true = right * math.log(100 * right) + 99 * wrong * math.log(100 * wrong)
    assert information.mutual_information(guess(y, 100, generator), y, 100) == pytest.approx(true, rel=0.1)


def test_a_constant_column_has_no_information():
    y = torch.arange(40) % 4
    assert information.mutual_information(torch.zeros_like(y), y, 4) == 0
    assert information.conditional_information(y, y, y, 4) == 0


def test_given_the_label_only_common_errors_are_shared():
    y = torch.arange(3000) % 3
    a = torch.where(torch.arange(3000) % 5 == 0, (y + 1) % 3, y)
    assert information.conditional_information(y, y, y, 3) == pytest.approx(0, abs=1e-3)
    h = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    assert information.conditional_information(a, a, y, 3) == pytest.approx(h, abs=2e-3)


def test_a_network_that_is_sure_and_right_has_all_information_and_an_even_one_none():
    y = torch.arange(400) % 4
    sure = 100 * torch.nn.functional.one_hot(y, 4).float()
    values = information.about_label(sure, y, 1.0)
    assert values["by the probabilities"] == pytest.approx(values["entropy of the label"])
    even = information.about_label(torch.zeros(400, 4), y, 1.0)
    assert even["entropy of the label"] == pytest.approx(math.log(4), abs=1e-12)
    assert even["by the probabilities"] == pytest.approx(0, abs=1e-6)
    assert even["by the prediction"] == pytest.approx(0, abs=0.01)


def test_figures_have_every_role(figures):
    made = figures(information)
    assert set(made["label"].values) == {"teacher", "baseline", "student"}
    assert all(math.isfinite(x) for of in made["shared"].values["student"].values() for x in of.values)
    assert all(x["entropy of the label"].mean <= math.log(10) for x in made["label"].values.values())
