import math

import pytest
import torch
from sklearn.metrics import mutual_info_score

from tutelage.explanation import information


def test_mutual_information_is_scikit_learn_s_but_for_the_correction():
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(4, (5000,), generator=generator)
    b = torch.where(torch.rand(5000, generator=generator) < 0.7, a, torch.randint(4, (5000,), generator=generator))
    correction = (4 - 1 + 4 - 1 - (16 - 1)) / (2 * 5000)
    expected = mutual_info_score(a.numpy(), b.numpy()) + correction
    assert information.mutual_information(a, b, 4) == pytest.approx(expected, abs=1e-9)


def test_independent_columns_share_nothing():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randint(10, (2000,), generator=generator) for _ in range(2))
    assert information.mutual_information(a, b, 10) < 0.01


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
    assert even["by the probabilities"] == pytest.approx(0, abs=0.01)
    assert even["by the prediction"] == pytest.approx(0, abs=0.01)


def test_figures_have_every_role(figures):
    made = figures(information)
    assert set(made["label"].values) == {"teacher", "baseline", "student"}
    assert all(x >= 0 for x in made["shared"].values["student"]["between the predictions"].values)
