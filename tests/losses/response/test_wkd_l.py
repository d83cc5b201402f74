"""WKD-L against Sinkhorn's algorithm on the classes that remain, and against linear programming."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from scipy.special import log_softmax, softmax

from tutelage.errors import ConfigError
from tutelage.losses.response.wkd_l import WKDL


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sharpen": 0.0},
        {"temperature": 3.0, "gamma": 2.0, "sharpen": 1.5, "entropy": 0.2, "iterations": 4, "eps": 1e-4},
    ],
)
def test_reads_like_the_paper(options: dict[str, float]) -> None:
    s, t, y, head = torch.randn(6, 5).double(), torch.randn(6, 5).double(), torch.randint(5, (6,)), torch.randn(5, 3)
    loss = WKDL(**options)
    values = loss(s, t, targets=y, head=(head.double(), None))
    unit = head.double().numpy() / np.linalg.norm(head.double().numpy(), axis=1, keepdims=True)
    distance = np.maximum(1 - unit @ unit.T, 0)
    cost = (1 - np.exp(-loss.sharpen * distance) if loss.sharpen else distance) + loss.eps
    for b in range(6):
        k, rest = int(y[b]), np.arange(5) != int(y[b])
        target = -softmax(t[b].numpy())[k] * log_softmax(s[b].numpy())[k]
        p, q = (softmax(z[b].numpy()[rest] / loss.temperature) for z in (s, t))
        c = cost[np.ix_(rest, rest)]
        kernel, u = np.exp(-c / loss.entropy), np.full(4, 1 / 4)
        for _ in range(loss.iterations):
            v = q / (kernel.T @ u + loss.eps)
            u = p / (kernel @ v + loss.eps)
        assert values["target"][b].item() == pytest.approx(target, rel=1e-9)
        expected = loss.gamma * (u[:, None] * kernel * v * c).sum()
        assert values["transport"][b].item() == pytest.approx(expected, rel=1e-9)


def test_many_rounds_at_little_entropy_find_the_cheapest_plan() -> None:
    p, q, cost = torch.rand(4).double(), torch.rand(4).double(), torch.rand(4, 4).double()
    p, q = p / p.sum(), q / q.sum()
    marginals = np.concatenate([np.kron(np.eye(4), np.ones(4)), np.kron(np.ones(4), np.eye(4))])
    best = linprog(cost.flatten().numpy(), A_eq=marginals, b_eq=np.concatenate([p, q])).fun
    loss, among = WKDL(entropy=0.01, iterations=2000, eps=0), torch.ones(4, dtype=torch.bool)
    assert loss.transport(p, q, cost, among).item() == pytest.approx(best, rel=0.02)


def test_positions_are_apart_and_costs_may_be_given() -> None:
    s, t, y = torch.randn(2, 5, 3).double(), torch.randn(2, 5, 3).double(), torch.randint(5, (2, 3))
    cost = torch.rand(5, 5).double()
    flat = WKDL()(*(z.movedim(1, -1).flatten(0, 1) for z in (s, t)), targets=y.flatten(), category_cost=cost)
    maps = WKDL()(s, t, targets=y, category_cost=cost)
    for name, value in maps.items():
        torch.testing.assert_close(value.flatten(), flat[name])


def test_refuses_costs_that_do_not_fit() -> None:
    s, y = torch.randn(6, 5), torch.randint(5, (6,))
    with pytest.raises(ConfigError, match="got none"):
        WKDL()(s, s, targets=y)
    with pytest.raises(ConfigError, match=r"shape \(7, 7\)"):
        WKDL()(s, s, targets=y, head=(torch.randn(7, 3), None))
