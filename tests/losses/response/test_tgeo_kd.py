"""TGeo-KD: the ratio from the five differences, sample by sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, softmax

from tutelage.losses.response.tgeo_kd import TGeoKD


def built(**options: float) -> TGeoKD:
    loss = TGeoKD(**options)
    loss.build(torch.zeros(1, 4).double(), torch.zeros(1, 4), 0)
    return loss


@pytest.mark.parametrize("options", [{}, {"temperature": 2.0, "hidden": 3}])
def test_reads_like_the_paper(options: dict[str, float]) -> None:
    loss = built(**options)
    first, second = (x.detach().numpy() for x in (loss.ratio.net[0].weight, loss.ratio.net[2].weight))
    bias, last = (x.detach().numpy() for x in (loss.ratio.net[0].bias, loss.ratio.net[2].bias))
    teacher_probabilities: list[list[np.ndarray]] = [[] for _ in range(4)]
    for _ in range(2):
        s, t, y = torch.randn(5, 4).double(), torch.randn(5, 4).double(), torch.randint(4, (5,))
        values = loss(s, t, targets=y)
        for b in range(5):
            teacher_probabilities[int(y[b])].append(softmax(t[b].numpy()))
        for b in range(5):
            p, q, g = softmax(s[b].numpy()), softmax(t[b].numpy()), np.eye(4)[int(y[b])]
            mean = np.mean(teacher_probabilities[int(y[b])], axis=0)
            x = np.concatenate([p - g, q - g, p - q, mean - g, p - mean])
            a = expit(second @ np.maximum(first @ x + bias, 0) + last)[0]
            soft, hard = (softmax(z[b].numpy() / loss.temperature) for z in (t, s))
            kd = loss.temperature**2 * (soft * np.log(soft / hard)).sum()
            assert values["teacher"][b].item() == pytest.approx(a * kd, rel=1e-6)
            assert values["truth"][b].item() == pytest.approx(-(1 - a) * log_softmax(s[b].numpy())[int(y[b])], rel=1e-6)


def test_the_student_does_not_learn_to_move_the_ratio() -> None:
    s = torch.randn(5, 4).double().requires_grad_()
    built().ratio(s, torch.randn(5, 4).double(), targets=torch.randint(4, (5,))).sum().backward()
    assert s.grad is None


def test_evaluation_gathers_nothing() -> None:
    loss = built().eval()
    loss(torch.randn(5, 4).double(), torch.randn(5, 4).double(), targets=torch.randint(4, (5,)))
    assert loss.ratio.counts.sum() == 0
