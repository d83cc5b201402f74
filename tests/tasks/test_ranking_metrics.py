"""Measures of rankings against scikit-learn and torchmetrics, also with ties and with queries of any length."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score
from torch import Tensor
from torchmetrics.functional import retrieval

from tutelage.errors import ConfigError
from tutelage.tasks.ranking_metrics import (
    NDCG,
    AveragePrecision,
    HitRate,
    RandomOrder,
    RankingMetrics,
    Recall,
    ReciprocalRank,
)

Split = tuple[Tensor, Tensor, Tensor]


def split(queries: int = 40, levels: int = 0, grades: int = 5) -> Split:
    """Shuffled documents of queries of 2 to 30 documents; levels: how many scores there are (0: no ties)."""
    generator = torch.Generator().manual_seed(3)
    sizes = torch.randint(2, 31, (queries,), generator=generator)
    groups = torch.arange(queries).repeat_interleave(sizes) * 7 + 3
    count = len(groups)
    scores = torch.randn(count, generator=generator)
    if levels:
        scores = torch.randint(levels, (count,), generator=generator).float()
    relevance = torch.randint(grades, (count,), generator=generator)
    relevance[groups == groups[0]] = 0
    order = torch.randperm(count, generator=generator)
    return scores[order], relevance[order], groups[order]


def measured(data: Split, batch: int = 50, **measures: object) -> dict[str, Tensor]:
    metrics = RankingMetrics(measures)  # type: ignore[arg-type]
    for start in range(0, len(data[0]), batch):
        metrics.update(*(x[start : start + batch] for x in data))
    return metrics.compute()


def by_query(data: Split) -> list[tuple[Tensor, Tensor]]:
    scores, relevance, groups = data
    members = [groups == g for g in groups.unique()]
    return [(scores[m], relevance[m]) for m in members if (relevance[m] > 0).any()]


@pytest.mark.parametrize("k", [1, 5, 10, 100])
@pytest.mark.parametrize("gain", ["exponential", "linear"])
@pytest.mark.parametrize("levels", [0, 3])
def test_ndcg_is_scikit_learns(k: int, gain: str, levels: int) -> None:
    data = split(levels=levels)
    truth = (lambda y: 2.0**y - 1) if gain == "exponential" else (lambda y: y)
    expected = [ndcg_score([truth(y.double().numpy())], [s.numpy()], k=k) for s, y in by_query(data)]
    value = measured(data, ndcg=NDCG(k, gain))["ndcg"].item()  # type: ignore[arg-type]
    assert value == pytest.approx(np.mean(expected), rel=1e-6)


def test_ndcg_is_torchmetrics() -> None:
    data = split()
    expected = [retrieval.retrieval_normalized_dcg(s, y, top_k=10) for s, y in by_query(data)]
    assert measured(data, ndcg=NDCG(10, "linear"))["ndcg"].item() == pytest.approx(torch.stack(expected).mean().item())


@pytest.mark.parametrize("grades", [2, 5])
def test_the_others_are_torchmetrics(grades: int) -> None:
    data = split(grades=grades)
    references = {
        "map": (AveragePrecision(), lambda s, y: retrieval.retrieval_average_precision(s, y)),
        "mrr": (ReciprocalRank(), lambda s, y: retrieval.retrieval_reciprocal_rank(s, y)),
        "recall": (Recall(4), lambda s, y: retrieval.retrieval_recall(s, y, top_k=4)),
        "hit": (HitRate(1), lambda s, y: retrieval.retrieval_hit_rate(s, y, top_k=1)),
    }
    results = measured(data, **{name: measure for name, (measure, _) in references.items()})
    for name, (_, reference) in references.items():
        expected = torch.stack([reference(s.sigmoid(), y > 0) for s, y in by_query(data)]).mean()
        assert results[name].item() == pytest.approx(expected.item(), rel=1e-5), name


def test_tied_documents_have_the_last_rank_as_in_scikit_learn() -> None:
    data = split(levels=3)
    expected = [label_ranking_average_precision_score([(y > 0).numpy()], [s.numpy()]) for s, y in by_query(data)]
    assert measured(data, map=AveragePrecision())["map"].item() == pytest.approx(np.mean(expected), rel=1e-6)
    tied = torch.zeros(4), torch.tensor([3, 0, 0, 0]), torch.zeros(4, dtype=torch.int64)
    measures = {"mrr": ReciprocalRank(), "recall": Recall(3), "hit": HitRate(3), "all": HitRate(4)}
    results = measured(tied, **measures)
    assert [results[name].item() for name in measures] == [0.25, 0.0, 0.0, 1.0]


def test_the_order_of_documents_and_batches_does_not_matter() -> None:
    data = split(levels=4)
    first = measured(data, ndcg=NDCG(), map=AveragePrecision(), mrr=ReciprocalRank(), recall=Recall())
    order = torch.randperm(len(data[0]))
    again = measured(
        tuple(x[order] for x in data),  # type: ignore[arg-type]
        batch=7,
        ndcg=NDCG(),
        map=AveragePrecision(),
        mrr=ReciprocalRank(),
        recall=Recall(),
    )
    for name in first:
        torch.testing.assert_close(first[name], again[name], equal_nan=True)


def test_queries_without_a_relevant_document_are_left_out_and_counted() -> None:
    scores, relevance, groups = split()
    results = measured((scores, relevance, groups), mrr=ReciprocalRank(), ndcg=NDCG())
    graded = {int(g) for g in groups[relevance > 0]}
    left_out = len(groups.unique()) - len(graded)
    assert results["queries_left_out"] == left_out >= 1
    table = results["queries"]
    assert table.shape == (40, 5)
    assert table[0, 0] == 3
    assert table[0, 2] == 0
    assert table[0, 3:].isnan().all()
    counted = table[:, 2] > 0
    assert table[counted].isfinite().all()
    torch.testing.assert_close(table[counted, 4].mean().float(), results["ndcg"])
    assert table[:, 1].sum() == len(scores)
    assert table[:, 2].sum() == (relevance > 0).sum()


def test_a_query_of_one_document() -> None:
    one = torch.tensor([0.3]), torch.tensor([2]), torch.tensor([9])
    results = measured(one, ndcg=NDCG(), map=AveragePrecision(), mrr=ReciprocalRank(), recall=Recall(1), hit=HitRate(1))
    assert results["queries"].tolist() == [[9, 1, 1, 1, 1, 1, 1, 1]]


def test_nothing_to_measure_is_no_number() -> None:
    one = torch.tensor([0.3]), torch.tensor([0]), torch.tensor([9])
    assert math.isnan(measured(one, ndcg=NDCG())["ndcg"].item())


def test_scores_that_are_no_numbers_rank_last() -> None:
    scores = torch.tensor([math.nan, 0.1, -0.2])
    data = scores, torch.tensor([1, 0, 0]), torch.zeros(3, dtype=torch.int64)
    assert measured(data, mrr=ReciprocalRank())["mrr"].item() == pytest.approx(1 / 3)


def test_columns_of_scores_are_taken() -> None:
    scores, relevance, groups = split()
    a = measured((scores[:, None], relevance, groups), ndcg=NDCG())["ndcg"]
    torch.testing.assert_close(a, measured((scores, relevance, groups), ndcg=NDCG())["ndcg"])


def test_metrics_start_anew_after_a_reset() -> None:
    metrics = RankingMetrics()
    metrics.update(*split())
    metrics.reset()
    metrics.update(*split(queries=3))
    assert len(metrics.compute()["queries"]) == 3


@pytest.mark.parametrize("make", [lambda: NDCG(0), lambda: NDCG(5, "square"), lambda: Recall(0), lambda: HitRate(-1)])
def test_options_out_of_range(make: object) -> None:
    with pytest.raises(ConfigError):
        make()  # type: ignore[operator]


def test_random_order_is_the_mean_over_orders() -> None:
    relevance, groups = torch.tensor([3, 1, 0, 0, 2]), torch.zeros(5, dtype=torch.int64)
    orders = [torch.randperm(5).float() for _ in range(3000)]
    expected = np.mean([ndcg_score([2.0 ** relevance.numpy() - 1], [s.numpy()], k=2) for s in orders])
    value = measured((torch.arange(5.0), relevance, groups), random=RandomOrder(NDCG(2)))["random"].item()
    assert value == pytest.approx(expected, abs=0.02)
