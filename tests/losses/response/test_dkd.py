"""DKD against a slow reading of the paper's eq. 7."""

from __future__ import annotations

import math

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.response.dkd import DKD


def softmax(z: list[float]) -> list[float]:
    top = max(z)
    e = [math.exp(x - top) for x in z]
    return [x / sum(e) for x in e]


def kl(p: list[float], q: list[float]) -> float:
    return sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))


def slow(s: list[float], t: list[float], y: int, alpha: float, beta: float, temperature: float) -> tuple[float, float]:
    s, t = [x / temperature for x in s], [x / temperature for x in t]
    ps, pt = softmax(s), softmax(t)
    target = kl([pt[y], 1 - pt[y]], [ps[y], 1 - ps[y]])
    non_target = kl(softmax(t[:y] + t[y + 1 :]), softmax(s[:y] + s[y + 1 :]))
    return alpha * temperature**2 * target, beta * temperature**2 * non_target


@pytest.mark.parametrize("options", [{}, {"alpha": 0.5, "beta": 2.0, "temperature": 1.0}, {"temperature": 7.5}])
def test_reads_like_the_paper(options: dict[str, float]) -> None:
    s, t, y = torch.randn(7, 6).double() * 3, torch.randn(7, 6).double() * 3, torch.randint(6, (7,))
    parts = DKD(**options)(s, t, targets=y)
    full = {"alpha": 1.0, "beta": 8.0, "temperature": 4.0, **options}
    for b in range(7):
        target, non_target = slow(s[b].tolist(), t[b].tolist(), int(y[b]), **full)
        assert parts["target"][b].item() == pytest.approx(target, rel=1e-9)
        assert parts["non_target"][b].item() == pytest.approx(non_target, rel=1e-9)


def test_positions_are_samples() -> None:
    s, t, y = torch.randn(3, 5, 2, 4), torch.randn(3, 5, 2, 4), torch.randint(5, (3, 2, 4))
    maps = DKD()(s, t, targets=y)
    rows = DKD()(s.movedim(1, -1).reshape(-1, 5), t.movedim(1, -1).reshape(-1, 5), targets=y.flatten())
    for part in ("target", "non_target"):
        torch.testing.assert_close(maps[part].flatten(), rows[part])


def test_float32_keeps_its_digits_for_large_logits() -> None:
    s, t, y = torch.randn(16, 10) * 2000, torch.randn(16, 10) * 2000, torch.randint(10, (16,))
    exact = DKD()(s.double(), t.double(), targets=y)
    for part, values in DKD()(s, t, targets=y).items():
        torch.testing.assert_close(values.double(), exact[part], rtol=1e-5, atol=1e-2)


def test_two_classes_have_no_others() -> None:
    parts = DKD()(torch.randn(4, 2), torch.randn(4, 2), targets=torch.tensor([0, 1, 1, 0]))
    assert parts["non_target"].abs().max() == 0


@pytest.mark.parametrize("targets", [torch.rand(4, 5), torch.rand(4), torch.zeros(3, dtype=torch.long)])
def test_refuses_what_is_no_class_number(targets: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match=r"expected class numbers \(4,\)"):
        DKD()(torch.randn(4, 5), torch.randn(4, 5), targets=targets)


def test_refuses_other_classes_and_temperature_zero() -> None:
    with pytest.raises(ConfigError, match=r"\(4, 5\) and the teacher's is \(4, 1\)"):
        DKD()(torch.randn(4, 5), torch.randn(4, 1), targets=torch.zeros(4, dtype=torch.long))
    with pytest.raises(ConfigError, match="temperature=0"):
        DKD(temperature=0)
