"""HSAKD: each classifier in turn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax

from tutelage.errors import ConfigError
from tutelage.losses.response.hsakd import HSAKD, joint_labels


@pytest.mark.parametrize("temperature", [3.0, 1.5])
def test_reads_like_the_paper(temperature: float) -> None:
    student, teacher = ([torch.randn(8, classes).double() for classes in (3, 12, 12)] for _ in range(2))
    values = HSAKD(temperature)(student, teacher)

    def kd(k: int, b: int) -> float:
        s, t = (softmax(x[k][b].numpy() / temperature) for x in (student, teacher))
        return temperature**2 * (t * np.log(t / s)).sum()

    for b in range(8):
        assert values["final"][b].item() == pytest.approx(kd(0, b), rel=1e-9)
        assert values["stages"][b].item() == pytest.approx(kd(1, b) + kd(2, b), rel=1e-9)


def test_joint_labels_number_class_and_version() -> None:
    assert joint_labels(torch.tensor([0, 2]), 3).tolist() == [0, 1, 2, 6, 7, 8]


def test_refuses_lists_that_do_not_pair() -> None:
    with pytest.raises(ConfigError, match="1 student layers and 2"):
        HSAKD()([torch.randn(4, 3)], [torch.randn(4, 3), torch.randn(4, 12)])
