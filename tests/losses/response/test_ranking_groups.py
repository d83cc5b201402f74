"""Losses of rankings on a batch of several queries of different length: each query by itself."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.losses.functional.ranking import lists_by_group
from tutelage.losses.response.listmle import ListMLE
from tutelage.losses.response.listnet import ListNet
from tutelage.losses.response.margin_mse import MarginMSE
from tutelage.losses.response.ranking_distillation import RankingDistillation
from tutelage.losses.response.ranking_softmax import RankingSoftmax
from tutelage.losses.response.ranknet import RankNet
from tutelage.losses.response.rrd import RRD

GROUPS = torch.tensor([7, 3, 7, 7, 5, 3, 3, 3, 7, 7])  # of 4, 1 and 5 samples
QUERIES = [GROUPS.eq(g) for g in (3, 5, 7)]


def batch() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(10, 1).double(), torch.randn(10, 1).double(), torch.randint(4, (10,))


def values_of(loss: Loss, student: Tensor, teacher: Tensor, **loss_kwargs: Tensor) -> Tensor:
    values = loss(student, teacher, **loss_kwargs)
    return values["candidates"] if isinstance(values, dict) else values


def test_values_are_laid_out_by_group() -> None:
    (numbers,), mask = lists_by_group(GROUPS, torch.arange(10.0))
    assert numbers.tolist() == [[1, 5, 6, 7, 0], [4, 0, 0, 0, 0], [0, 2, 3, 8, 9]]
    assert mask.sum(1).tolist() == [4, 1, 5]


@pytest.mark.parametrize("loss", [ListNet(), ListNet(1e-3), ListMLE(), ListMLE(1e-3), RRD(top=2), RRD()])
@pytest.mark.parametrize("column", [True, False])
def test_each_group_is_a_list(loss: Loss, column: bool) -> None:
    s, t, _ = batch()
    values = loss(s, t, groups=GROUPS) if column else loss(s[:, 0], t[:, 0], groups=GROUPS)
    alone = [loss(s[q].T, t[q].T) for q in QUERIES]
    torch.testing.assert_close(values, torch.cat(alone))


def test_ranking_distillation_weighs_the_items_that_exist() -> None:
    s, t, _ = batch()
    loss = RankingDistillation(top=4, sharpness=2.0)
    alone = [values_of(loss, s[q].T, t[q].T) for q in QUERIES]
    torch.testing.assert_close(values_of(loss, s, t, groups=GROUPS), torch.cat(alone))


def test_ranknet_averages_over_the_pairs_of_all_groups() -> None:
    s, t, _ = batch()
    pairs = [
        math.log1p(math.exp(s[j].item() - s[i].item()))
        for q in QUERIES
        for i, j in itertools.permutations(q.nonzero()[:, 0].tolist(), 2)
        if t[i] > t[j]
    ]
    assert RankNet()(s, t, groups=GROUPS).mean().item() == pytest.approx(sum(pairs) / len(pairs), rel=1e-9)


def test_margin_mse_compares_margins_within_queries() -> None:
    s, t, y = batch()
    pairs = [
        ((s[i] - s[j]) - (t[i] - t[j])).item() ** 2
        for q in QUERIES
        for i, j in itertools.permutations(q.nonzero()[:, 0].tolist(), 2)
        if y[i] > y[j]
    ]
    value = MarginMSE()(s, t, targets=y, groups=GROUPS).mean()
    assert value.item() == pytest.approx(sum(pairs) / len(pairs), rel=1e-9)
    shifted = t + GROUPS[:, None]
    torch.testing.assert_close(MarginMSE()(s, shifted, targets=y, groups=GROUPS).mean(), value)
    assert MarginMSE()(s, t, targets=torch.zeros(10), groups=GROUPS).mean() == 0


def test_ranking_softmax_is_the_cross_entropy_of_each_query_with_a_relevant_document() -> None:
    s, _, y = batch()
    y[GROUPS == 5] = 0
    y[1] = 2
    y[0] = 3
    expected = []
    for q in QUERIES:
        if y[q].sum():
            share = y[q].double() / y[q].sum()
            expected.append(-(share * s[q][:, 0].log_softmax(0)).sum())
    values = RankingSoftmax()(s, targets=y, groups=GROUPS)
    torch.testing.assert_close(values, torch.stack(expected))
    assert RankingSoftmax()(s, targets=torch.zeros(10), groups=GROUPS).shape == (0,)


@pytest.mark.parametrize(
    "loss", [ListNet(), ListMLE(), RankNet(), RRD(top=2), RankingDistillation(), MarginMSE(), RankingSoftmax()]
)
def test_the_order_of_the_samples_does_not_matter_and_gradients_are_finite(loss: Loss) -> None:
    s, t, y = batch()
    order = torch.randperm(10)
    needed = loss.required_inputs()
    results = []
    for rows in (torch.arange(10), order):
        student = s[rows].clone().requires_grad_()
        kwargs = {"groups": GROUPS[rows]} | ({"targets": y[rows]} if "targets" in needed else {})
        value = values_of(loss, student, t[rows], **kwargs).mean()
        (grad,) = torch.autograd.grad(value, student)
        assert grad.isfinite().all()
        results.append((value.detach(), grad[rows.argsort()]))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("loss", [ListNet(), ListMLE(), RankNet(), RRD(top=2), RankingDistillation()])
def test_groups_of_samples_that_are_lists_themselves_change_nothing(loss: Loss) -> None:
    s, t = torch.randn(10, 6), torch.randn(10, 6)
    assert values_of(loss, s, t).equal(values_of(loss, s, t, groups=GROUPS))


def test_several_scores_of_a_document_are_refused() -> None:
    scores = torch.randn(10, 3)
    for loss in (MarginMSE(), RankingSoftmax()):
        with pytest.raises(ConfigError, match=r"\(10, 3\), expected one score per document"):
            loss(scores, scores, targets=torch.ones(10), groups=GROUPS)
