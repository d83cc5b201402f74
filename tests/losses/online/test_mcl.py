"""MCL against a plain implementation, per peer and sample."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.online.mcl import MCL

B = 6
TARGETS = torch.tensor([0, 1, 0, 2, 1, 0])  # the fourth sample is the only one of its class
WIDTHS = (4, 5, 3)


def peers(count: int = 3, **options: float) -> tuple[MCL, list[Tensor]]:
    features = [torch.randn(B, wide, dtype=torch.float64) for wide in WIDTHS[:count]]
    loss = MCL(dim=7, **options)  # type: ignore[arg-type]
    loss.build(features, None, 40)
    return loss, features


def unit(embed: nn.Module, f: Tensor) -> list[list[float]]:
    first, last = embed[0], embed[2]  # type: ignore[index]
    rows = []
    for x in f:
        y = last.weight @ (first.weight @ x + first.bias).clamp(min=0) + last.bias
        rows.append((y / sum(v * v for v in y.tolist()) ** 0.5).tolist())
    return rows


def h(similar: list[list[float]], i: int, same_sample: bool) -> float:
    candidates = [k for k in range(B) if same_sample or k != i]
    positives = [k for k in candidates if TARGETS[k] == TARGETS[i]]
    total = sum(math.exp(similar[i][k]) for k in candidates)
    return -sum(math.log(math.exp(similar[i][p]) / total) for p in positives) / len(positives) if positives else 0.0


def divergence(teacher: list[float], student: list[float], temperature: float) -> float:
    t, s = ([math.exp(x / temperature) for x in row] for row in (teacher, student))
    return temperature**2 * sum(a / sum(t) * math.log(a / sum(t) / (b / sum(s))) for a, b in zip(t, s, strict=True))


OTHERS = {"tau": 0.5, "temperature": 2.0, "alpha": 2.0, "gamma": 3.0, "beta": 5.0, "lam": 7.0, "same_sample": True}


@pytest.mark.parametrize("options", [{}, OTHERS])
@pytest.mark.parametrize("count", [2, 3])
def test_mcl(count: int, options: dict[str, float]) -> None:
    loss, features = peers(count, **options)
    parts = loss(features, targets=TARGETS)
    e = [unit(embed, f) for embed, f in zip(loss.embed, features, strict=True)]
    every = range(count)
    similar = {
        (a, b): [[sum(x * y for x, y in zip(u, v, strict=True)) / loss.tau for v in e[b]] for u in e[a]]
        for a in every
        for b in every
    }
    pairs = [(a, b) for a in every for b in every if a != b]
    for i in range(B):
        expected = {
            "vcl": loss.alpha * sum(h(similar[a, a], i, False) for a in every),
            "soft_vcl": sum(divergence(similar[b, b][i], similar[a, a][i], loss.temperature) for a, b in pairs),
            "icl": loss.beta * sum(h(similar[pair], i, loss.same_sample) for pair in pairs),
            "soft_icl": sum(divergence(similar[b, a][i], similar[a, b][i], loss.temperature) for a, b in pairs),
        }
        expected["soft_vcl"] *= loss.gamma
        expected["soft_icl"] *= loss.lam
        assert {name: value[i].item() for name, value in parts.items()} == pytest.approx(expected, rel=1e-9)


def test_mcl_is_independent_of_the_peers_order() -> None:
    loss, features = peers()
    before = {name: value.sum().item() for name, value in loss(features, targets=TARGETS).items()}
    order = (2, 0, 1)
    loss.embed = nn.ModuleList(loss.embed[k] for k in order)
    after = loss([features[k] for k in order], targets=TARGETS)
    assert {name: value.sum().item() for name, value in after.items()} == pytest.approx(before, rel=1e-9)


def test_the_matched_side_gets_no_gradient() -> None:
    loss, features = peers(2)
    first, second = (f.requires_grad_() for f in features)
    (gradient,) = torch.autograd.grad(loss([first, second], targets=TARGETS)["soft_vcl"].sum(), first)
    with torch.no_grad():
        fixed = torch.nn.functional.normalize(loss.embed[1](second))
    x = torch.nn.functional.normalize(loss.embed[0](first))
    target, log_p = (fixed @ fixed.T / 0.3).softmax(1), (x @ x.T / 0.3).log_softmax(1)
    by_hand = 9 * torch.nn.functional.kl_div(log_p, target, reduction="sum")
    torch.testing.assert_close(gradient, torch.autograd.grad(by_hand, first)[0])


def test_raises_for_a_temperature_of_zero_and_classes_by_position() -> None:
    with pytest.raises(ConfigError, match="tau=0"):
        MCL(tau=0)
    loss, features = peers()
    with pytest.raises(ConfigError, match=r"one class per sample, \(6,\), but the targets are \(6, 2\)"):
        loss(features, targets=torch.zeros(6, 2, dtype=torch.long))
