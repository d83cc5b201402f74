"""DINO against a loop over pairs of crops, its warm-up and its centre."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.relation.dino import DINO


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum()


@pytest.mark.parametrize("options", [{}, {"student_temperature": 0.5, "warmup_epochs": 0, "centre_momentum": 0.5}])
def test_reads_like_the_paper(options: dict[str, float]) -> None:
    loss, s, t = DINO(**options), torch.randn(3, 4, 5).double(), torch.randn(3, 2, 5).double()
    loss.build(s, t, 100)
    tau_s, momentum = options.get("student_temperature", 0.1), options.get("centre_momentum", 0.9)
    tau_t = 0.07 if "warmup_epochs" in options else 0.04
    centre = np.zeros(5)
    for _ in range(2):
        values = loss(s, t, epoch=0.7)
        for b in range(3):
            pairs = [(i, j) for i in range(2) for j in range(4) if i != j]
            targets = [softmax((t[b, i].numpy() - centre) / tau_t) for i, _ in pairs]
            predictions = [softmax(s[b, j].numpy() / tau_s) for _, j in pairs]
            np.testing.assert_allclose(
                values[b], [-(p * np.log(q)).sum() for p, q in zip(targets, predictions, strict=True)]
            )
        centre = momentum * centre + (1 - momentum) * t.numpy().mean((0, 1))
        np.testing.assert_allclose(loss.centre[0], centre)
    loss.eval()(s, t, epoch=0.7)
    np.testing.assert_allclose(loss.centre[0], centre)


def test_the_teacher_sharpens_less_by_and_by() -> None:
    assert [DINO().sharpening(e) for e in (0, 0.9, 29, 50)] == pytest.approx([0.04, 0.04, 0.07, 0.07])
    linear = np.linspace(0.04, 0.07, 30)
    assert [DINO().sharpening(e) for e in range(30)] == pytest.approx(linear.tolist())


def test_refuses_what_are_no_crops() -> None:
    with pytest.raises(ConfigError, match="global crops"):
        DINO()(torch.randn(3, 5), torch.randn(3, 5), epoch=0.0)
    with pytest.raises(ConfigError, match="centre_momentum"):
        DINO(centre_momentum=1.0)
