"""Losses of rankings against slow readings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from scipy.special import log_softmax, softmax

from tutelage.losses.response.listmle import ListMLE
from tutelage.losses.response.listnet import ListNet
from tutelage.losses.response.ranking_distillation import RankingDistillation
from tutelage.losses.response.ranknet import RankNet
from tutelage.losses.response.rrd import RRD

B, N = 4, 7


def scores() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(B, N).double() * 2, torch.randn(B, N).double() * 2


def ordered(s: torch.Tensor, t: torch.Tensor) -> list[float]:
    return [s[i].item() for i in sorted(range(len(t)), key=lambda i: -t[i].item())]


def likelihood(ranked: Sequence[float], others: Sequence[float] = (), eps: float = 0.0) -> float:
    top = max(*ranked, *others)
    rest = sum(math.exp(u - top) for u in others)
    return sum(
        math.log(sum(math.exp(x - top) for x in ranked[k:]) + rest + eps) - (ranked[k] - top)
        for k in range(len(ranked))
    )


@pytest.mark.parametrize("eps", [0.0, 1e-2])
def test_listmle(eps: float) -> None:
    s, t = scores()
    values = ListMLE(eps)(s, t)
    assert values.tolist() == pytest.approx([likelihood(ordered(s[b], t[b]), eps=eps) for b in range(B)], rel=1e-9)


@pytest.mark.parametrize("eps", [0.0, 1e-2])
def test_listnet(eps: float) -> None:
    s, t = scores()
    values = ListNet(eps)(s, t)
    for b in range(B):
        log_s = [math.log(p + eps) for p in softmax(s[b].numpy())] if eps else log_softmax(s[b].numpy())
        assert values[b].item() == pytest.approx(-(softmax(t[b].numpy()) * log_s).sum(), rel=1e-9)


def test_ranknet() -> None:
    s, t = scores()
    pairs = [
        math.log1p(math.exp(s[b, j] - s[b, i]))
        for b in range(B)
        for i in range(N)
        for j in range(N)
        if t[b, i] > t[b, j]
    ]
    assert RankNet()(s, t).mean().item() == pytest.approx(sum(pairs) / len(pairs), rel=1e-9)


@pytest.mark.parametrize("loss", [ListMLE(), ListMLE(1e-3), ListNet(), ListNet(1e-3), RankNet()])
def test_masked_items_are_not_in_the_list(loss: torch.nn.Module) -> None:
    s, t = scores()
    mask = torch.ones(B, N, dtype=torch.bool)
    mask[:, 2], mask[:, 5] = False, False
    s.requires_grad_()
    values = loss(s, t, mask=mask)
    torch.testing.assert_close(values.mean(), loss(s[mask].reshape(B, -1), t[mask].reshape(B, -1)).mean())
    (grad,) = torch.autograd.grad(values.sum(), s)
    assert grad.isfinite().all()
    assert grad[~mask].abs().max() == 0


def test_rrd_ranks_the_first_above_the_rest() -> None:
    s, t = scores()
    for b in range(B):
        ranked = ordered(s[b], t[b])
        expected = likelihood(ranked[:3], ranked[3:])
        assert RRD(top=3)(s, t)[b].item() == pytest.approx(expected, rel=1e-9)
        separate = RRD()(torch.tensor([ranked[:3]]), uninteresting_scores=torch.tensor([ranked[3:]]))
        assert separate.item() == pytest.approx(expected, rel=1e-5)


def test_ranking_distillation_weighs_by_place_and_discrepancy() -> None:
    s, t = scores()
    sampled = torch.randn(B, 9).double() * 2
    loss = RankingDistillation(top=3, alpha=0.7, sharpness=2.0, mu=0.3, num_items=40)
    plain, hybrid = loss(s, t)["candidates"], loss(s, t, sampled_scores=sampled)["candidates"]
    places = [math.exp(-k / 2.0) for k in (1, 2, 3)]
    for b in range(B):
        first, later = 0.0, 0.0
        for k, x in enumerate(ordered(s[b], t[b])[:3]):
            rank = math.floor(39 * sum(u > x for u in sampled[b].tolist()) / 9)
            term = places[k] / sum(places) * math.log1p(math.exp(-x))
            first += 0.7 * term
            later += 0.7 * term * max(0.0, math.tanh(0.3 * (rank - k)))
        assert plain[b].item() == pytest.approx(first, rel=1e-9)
        assert hybrid[b].item() == pytest.approx(later, rel=1e-9)


def test_ranking_distillation_takes_the_truth_if_given() -> None:
    s, t = scores()
    parts = RankingDistillation()(s, t, positive_scores=s[:, :2], negative_scores=s[:, 2:3])
    sigmoid = 1 / (1 + (-s).exp())
    torch.testing.assert_close(parts["positive"], -sigmoid[:, :2].log().sum(1))
    torch.testing.assert_close(parts["negative"], -(1 - sigmoid[:, 2]).log())
