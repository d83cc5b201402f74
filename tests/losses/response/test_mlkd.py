"""MLKD against a slow reading."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from tutelage.errors import ConfigError
from tutelage.losses.response.mlkd import MLKD


def slow(s: np.ndarray, t: np.ndarray, temperatures: tuple[float, ...]) -> dict[str, float]:
    parts = {"instance": 0.0, "batch": 0.0, "class": 0.0}
    for temperature in temperatures:
        ps, pt = softmax(s / temperature, axis=1), softmax(t / temperature, axis=1)
        parts["instance"] += temperature**2 * rel_entr(pt, ps).sum(1).mean()
        parts["batch"] += np.linalg.norm(ps @ ps.T - pt @ pt.T) ** 2 / s.shape[0]
        parts["class"] += np.linalg.norm(ps.T @ ps - pt.T @ pt) ** 2 / s.shape[1]
    return parts


@pytest.mark.parametrize("temperatures", [(2.0, 3.0, 4.0, 5.0, 6.0), (1.5,)])
def test_reads_like_the_paper(temperatures: tuple[float, ...]) -> None:
    s, t = torch.randn(8, 5).double() * 2, torch.randn(8, 5).double() * 2
    parts = MLKD(temperatures)(s, t)
    expected = slow(s.numpy(), t.numpy(), temperatures)
    assert {name: x.mean().item() for name, x in parts.items()} == pytest.approx(expected, rel=1e-9)


def test_keeps_what_the_teacher_doubts() -> None:
    s, t = torch.randn(8, 5).double() * 2, torch.randn(8, 5).double() * 2
    p = softmax(t.numpy(), axis=1)
    samples = torch.from_numpy(p.max(1) <= np.percentile(p.max(1), 50))
    classes = torch.from_numpy(p.sum(0) <= np.percentile(p.sum(0), 50))
    full, doubtful, share = (MLKD(keep=keep)(s, t) for keep in ("all", "doubtful", "share"))  # type: ignore[arg-type]
    for name, kept in (("instance", samples), ("batch", samples), ("class", classes)):
        torch.testing.assert_close(doubtful[name], full[name] * kept)
        torch.testing.assert_close(share[name], full[name] * kept.double().mean())


def test_refuses_options() -> None:
    with pytest.raises(ConfigError, match="temperatures="):
        MLKD((0.0, 1.0))
    with pytest.raises(ConfigError, match="keep='most'"):
        MLKD(keep="most")  # type: ignore[arg-type]
