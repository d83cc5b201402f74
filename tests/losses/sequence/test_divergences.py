"""Losses of one token at a time, against loops over numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Sequence
from tutelage.losses.sequence.akl import AKL
from tutelage.losses.sequence.distillm import SkewKL, SkewRKL
from tutelage.losses.sequence.f_distill import TVD
from tutelage.losses.sequence.gkd import GKD
from tutelage.losses.sequence.taid import TAID
from tutelage.losses.sequence.token_ce import TokenCE

B, T, V = 3, 4, 6


def batch() -> tuple[Tensor, Tensor, Tensor]:
    targets = torch.randint(V, (B, T))
    targets[0, :2] = targets[2, 3] = -100
    return torch.randn(B, T, V, dtype=torch.float64), torch.randn(B, T, V, dtype=torch.float64), targets


def p(z: Tensor, temperature: float = 1.0) -> np.ndarray:
    e = np.exp(z.numpy() / temperature)
    return e / e.sum()


def kl(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * np.log(a / b)).sum())


def by_loop(token_loss, student: Tensor, teacher: Tensor, targets: Tensor) -> list[float]:
    places = [(b, t) for b in range(B) for t in range(T) if targets[b, t] != -100]
    return [token_loss(student[at], teacher[at]) for at in places]


def jsd(beta: float, temperature: float):
    def token_loss(z: Tensor, u: Tensor) -> float:
        s, t = p(z, temperature), p(u, temperature)
        m = beta * t + (1 - beta) * s
        return beta * kl(t, m) + (1 - beta) * kl(s, m)

    return token_loss


def akl(mu: float):
    def token_loss(z: Tensor, u: Tensor) -> float:
        s, t = p(z), p(u)
        head, tail, summed = 0.0, 0.0, 0.0
        for place, v in enumerate(np.argsort(-t)):
            summed += t[v]
            gap = abs(t[v] - s[v])
            head, tail = (head + gap, tail) if place == 0 or summed <= mu else (head, tail + gap)
        return (head * kl(t, s) + tail * kl(s, t)) / (head + tail)

    return token_loss


def entropy(q: np.ndarray) -> float:
    return float(-(q * np.log(q)).sum())


CASES = {
    "gkd": (GKD(), jsd(0.5, 1.0)),
    "gkd_away": (GKD(0.2, temperature=2.5), jsd(0.2, 2.5)),
    "forward": (GKD(0.0, temperature=2.0), lambda z, u: kl(p(u, 2), p(z, 2))),
    "reverse": (GKD(1.0), lambda z, u: kl(p(z), p(u))),
    "skew_kl": (SkewKL(), lambda z, u: kl(p(u), 0.1 * p(u) + 0.9 * p(z))),
    "skew_kl_0": (SkewKL(0.0), lambda z, u: kl(p(u), p(z))),
    "skew_kl_cross": (SkewKL(0.3, entropy=False), lambda z, u: kl(p(u), 0.3 * p(u) + 0.7 * p(z)) + entropy(p(u))),
    "skew_rkl": (SkewRKL(0.4), lambda z, u: kl(p(z), 0.6 * p(u) + 0.4 * p(z))),
    "tvd": (TVD(), lambda z, u: float(np.abs(p(z) - p(u)).sum() / 2)),
    "akl": (AKL(), akl(0.5)),
    "akl_away": (AKL(0.85), akl(0.85)),
    "taid": (TAID(), lambda z, u: kl(p(0.6 * z + 0.4 * u), p(z))),
    "taid_away": (
        TAID(t_start=0.7, entropy=False),
        lambda z, u: kl(p(0.3 * z + 0.7 * u), p(z)) + entropy(p(0.3 * z + 0.7 * u)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_a_loop_over_tokens(name: str) -> None:
    loss, token_loss = CASES[name]
    student, teacher, targets = batch()
    values = loss.double()(student, teacher, targets=targets)
    np.testing.assert_allclose(values.numpy(), by_loop(token_loss, student, teacher, targets), rtol=1e-7)


@pytest.mark.parametrize("loss", [GKD(), SkewKL(), SkewRKL(), TVD(), AKL(), TAID()])
def test_shifted_targets_are_the_next_positions(loss: Sequence) -> None:
    student, teacher, targets = batch()
    aligned = loss(student[:, :-1], teacher[:, :-1], targets=targets[:, 1:])
    torch.testing.assert_close(type(loss)(shift=True)(student, teacher, targets=targets), aligned)


def test_all_tokens_count_without_targets() -> None:
    student, teacher, _ = batch()
    assert GKD()(student, teacher).shape == (B * T,)


def test_what_is_unlabelled_has_no_gradient_and_may_be_anything() -> None:
    student, teacher, targets = batch()
    student[0, 0] = float("nan")
    student.requires_grad_()
    GKD()(student, teacher, targets=targets).mean().backward()
    assert (student.grad[targets == -100] == 0).all()
    assert student.grad[targets != -100].isfinite().all()


def test_the_weights_of_akl_have_no_gradient() -> None:
    student, teacher = torch.randn(1, 1, V, dtype=torch.float64), torch.randn(1, 1, V, dtype=torch.float64)
    student.requires_grad_()
    AKL()(student, teacher).sum().backward()
    s, t = student.detach().softmax(-1)[0, 0], teacher.softmax(-1)[0, 0]
    order = t.argsort(descending=True)
    head = [int(v) for k, v in enumerate(order) if k == 0 or t[order[: k + 1]].sum() <= 0.5]
    gap = (s - t).abs()
    weight = float(gap[head].sum() / gap.sum())
    forward = s - t
    reverse = s * ((s / t).log() - (s * (s / t).log()).sum())
    torch.testing.assert_close(student.grad[0, 0], weight * forward + (1 - weight) * reverse)


def test_taid_moves_towards_the_teacher() -> None:
    student, teacher, targets = batch()
    loss, t, momentum, before = TAID(alpha=0.1, beta=0.9, epochs=10).double(), 0.4, 0.0, None
    for epoch in (1, 2, 7):
        now = float(loss(student, teacher, targets=targets, epoch=epoch).mean())
        if before is not None:
            momentum = 0.9 * momentum + 0.1 * (before - now) / before
            t = min(1.0, max(0.4 + 0.6 * epoch / 10, t + 0.1 / (1 + np.exp(-momentum)) * (1 - t)))
        before = now
        assert float(loss.t) == pytest.approx(t, rel=1e-6)
        assert float(loss.momentum) == pytest.approx(momentum, rel=1e-6)
    loss.eval()(student, teacher, targets=targets, epoch=9)
    assert float(loss.t) == pytest.approx(t, rel=1e-6)


def test_taid_without_adaptation_follows_the_line() -> None:
    student, teacher, targets = batch()
    loss = TAID(adaptive=False, epochs=4)
    for epoch in (1, 2, 3):
        loss(student, teacher, targets=targets, epoch=epoch)
    assert float(loss.t) == pytest.approx(0.4 + 0.6 * 0.75)


def test_token_ce_is_that_of_the_next_token() -> None:
    student, _, targets = batch()
    expected = [
        -np.log(p(student[b, t])[targets[b, t + 1]])
        for b in range(B)
        for t in range(T - 1)
        if targets[b, t + 1] != -100
    ]
    np.testing.assert_allclose(TokenCE(shift=True)(student, targets=targets).numpy(), expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GKD(1.5),
        lambda: GKD(temperature=0),
        lambda: SkewKL(1.0),
        lambda: SkewRKL(-0.1),
        lambda: AKL(2.0),
        lambda: TAID(t_start=0.9, t_end=0.5),
        lambda: TAID(epochs=0),
    ],
)
def test_refuses_options_out_of_range(make) -> None:
    with pytest.raises(ConfigError, match="expected"):
        make()


def test_refuses_vocabularies_that_differ() -> None:
    with pytest.raises(ConfigError, match="expected equal shapes"):
        GKD()(torch.randn(1, 2, 5), torch.randn(1, 2, 6))
