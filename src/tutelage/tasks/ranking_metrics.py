"""Metrics of rankings: documents with scores and grades, in queries of any length, accumulated over a split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from tutelage.utils.options import CheckedArguments, Count


@dataclass(frozen=True)
class RankedQueries:
    """Documents, query by query, each query's by descending score.

    query: (N,) each document's query, from 0 without gaps. relevance: (N,) grades in this order, float64; a document is
    relevant if its grade is above 0. rank: (N,) ranks in the query, from 0. tie: (N,) numbers of runs of equal scores,
    which no two queries share. groups: (Q,) the queries' numbers in the data. documents, relevant: (Q,) counts.
    """

    query: Tensor
    relevance: Tensor
    rank: Tensor
    tie: Tensor
    groups: Tensor
    documents: Tensor
    relevant: Tensor

    @classmethod
    def from_scores(cls, scores: Tensor, relevance: Tensor, groups: Tensor) -> RankedQueries:
        """Rank the documents: scores (N,), of which NaN is the lowest, grades (N,) and group numbers (N,)."""
        scores = torch.where(scores.isnan(), -torch.inf, scores)
        order = scores.argsort(descending=True, stable=True)
        order = order[groups[order].argsort(stable=True)]
        numbers, query, documents = groups[order].unique_consecutive(return_inverse=True, return_counts=True)
        scores, relevance = scores[order], relevance[order].double()
        starts = torch.ones_like(query, dtype=torch.bool)
        starts[1:] = (query[1:] != query[:-1]) | (scores[1:] != scores[:-1])
        relevant = _total(query, (relevance > 0).double(), len(numbers))
        return cls(query, relevance, _rank(query, documents), starts.cumsum(0) - 1, numbers, documents, relevant)

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of the documents' values in each query: (N,) → (Q,)."""
        return _total(self.query, values, len(self.groups))

    def last_rank(self) -> Tensor:
        """Return each document's rank if it comes after those of equal score, (N,)."""
        last = self.tie[1:] != self.tie[:-1]
        return self.rank[torch.cat([last, last.new_ones(1)])][self.tie] if len(self.tie) else self.rank


def _total(query: Tensor, values: Tensor, queries: int) -> Tensor:
    return torch.zeros(queries, dtype=values.dtype, device=values.device).index_add_(0, query, values)


def _rank(query: Tensor, documents: Tensor) -> Tensor:
    """Return each document's place in its query, for documents that are sorted by query."""
    return torch.arange(len(query), device=query.device) - (documents.cumsum(0) - documents)[query]


class Measure(Protocol):
    """A figure of each query: ranked queries → (Q,); it isn't looked at where no document is relevant."""

    def __call__(self, queries: RankedQueries) -> Tensor: ...  # noqa: D102


@dataclass(frozen=True)
class NDCG(CheckedArguments):
    """Normalised discounted cumulative gain of the first k documents: Σ gain / log₂(2 + rank), divided by the best.

    Documents of equal score share the mean of their discounts, as in scikit-learn's ndcg_score and torchmetrics.
    gain: "exponential", 2^grade − 1, or "linear", the grade.
    Paper: Järvelin, Kekäläinen. TOIS 2002; the exponential gain: Burges et al. ICML 2005.
    """

    k: Count = 10
    gain: Literal["exponential", "linear"] = "exponential"

    def __call__(self, queries: RankedQueries) -> Tensor:
        """Return the gain of each query, (Q,)."""
        gain = queries.relevance.exp2() - 1 if self.gain == "exponential" else queries.relevance
        discount = self.discount(queries.rank)
        ties = len(queries.tie.unique_consecutive())
        shared = _total(queries.tie, discount, ties) / torch.bincount(queries.tie, minlength=ties)
        best = gain.argsort(descending=True, stable=True)
        best = best[queries.query[best].argsort(stable=True)]
        return queries.total(gain * shared[queries.tie]) / queries.total(gain[best] * discount)

    def discount(self, rank: Tensor) -> Tensor:
        """Return the weight of each rank, 0 from k on."""
        return (rank < self.k) / (rank.double() + 2).log2()


class AveragePrecision:
    """The precision at each relevant document's rank, averaged; of documents of equal score, all have the last rank.

    It equals scikit-learn's label_ranking_average_precision_score. torchmetrics' RetrievalMAP is equal where all scores
    are different and above 0: there a document whose score is 0 or less isn't relevant, and ties are broken anyhow.
    """

    def __call__(self, queries: RankedQueries) -> Tensor:
        """Return the average precision of each query, (Q,)."""
        relevant = (queries.relevance > 0).double()
        before = (queries.relevant.cumsum(0) - queries.relevant)[queries.query]
        last_rank = queries.last_rank()
        last = torch.arange(len(relevant), device=relevant.device) + last_rank - queries.rank
        precision = (relevant.cumsum(0)[last] - before) / (last_rank + 1)
        return queries.total(relevant * precision) / queries.relevant


class ReciprocalRank:
    """One divided by the rank, from 1, of the first relevant document; of equal scores, all have the last rank."""

    def __call__(self, queries: RankedQueries) -> Tensor:
        """Return the reciprocal rank of each query, (Q,)."""
        reciprocal = (queries.relevance > 0) / (queries.last_rank().double() + 1)
        return torch.zeros_like(queries.relevant).scatter_reduce_(0, queries.query, reciprocal, "amax")


@dataclass(frozen=True)
class Recall(CheckedArguments):
    """The fraction of the relevant documents among the first k; of documents of equal score, all have the last rank."""

    k: Count = 10

    def __call__(self, queries: RankedQueries) -> Tensor:
        """Return the recall of each query, (Q,)."""
        first = (queries.relevance > 0) & (queries.last_rank() < self.k)
        return queries.total(first.double()) / queries.relevant


@dataclass(frozen=True)
class HitRate(CheckedArguments):
    """1 if a relevant document is among the first k, else 0; of documents of equal score, all have the last rank."""

    k: Count = 10

    def __call__(self, queries: RankedQueries) -> Tensor:
        """Return 1 or 0 for each query, (Q,)."""
        return (Recall(self.k)(queries) > 0).double()


@dataclass(frozen=True)
class RandomOrder:
    """The NDCG to be expected of documents in random order: that of equal scores."""

    measure: NDCG = field(default_factory=NDCG)

    def __call__(self, queries: RankedQueries) -> Tensor:
        """Return the expected figure of each query, (Q,)."""
        return self.measure(replace(queries, tie=queries.query))


MEASURES: Mapping[str, Measure] = {
    "ndcg@5": NDCG(5),
    "ndcg@10": NDCG(10),
    "map": AveragePrecision(),
    "mrr": ReciprocalRank(),
    "recall@10": Recall(10),
    "hit_rate@10": HitRate(10),
    "random_ndcg@10": RandomOrder(NDCG(10)),
}
"""The measures of a ranking, by name."""


class RankingMetrics(Metric):
    """The mean of each measure over the queries that have a relevant document, and a table of the queries.

    Args:
        measures: the measures, by name.
        options: options of torchmetrics.Metric.

    Example:
        >>> import torch
        >>> metrics = RankingMetrics({"mrr": ReciprocalRank()})
        >>> metrics.update(torch.tensor([0.1, 0.9, 0.5]), torch.tensor([1, 0, 0]), torch.tensor([7, 7, 8]))
        >>> {name: value.tolist() for name, value in metrics.compute().items()}
        {'mrr': 0.5, 'queries_left_out': 1.0, 'queries': [[7.0, 2.0, 1.0, 0.5], [8.0, 1.0, 0.0, nan]]}
    """

    higher_is_better = True
    full_state_update = False
    scores: list[Tensor]
    relevance: list[Tensor]
    groups: list[Tensor]

    def __init__(self, measures: Mapping[str, Measure] = MEASURES, **options: Any) -> None:
        super().__init__(**options)
        self.measures = dict(measures)
        for state in ("scores", "relevance", "groups"):
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(self, scores: Tensor, relevance: Tensor, groups: Tensor) -> None:
        """Keep a batch: scores and grades (B,) or (B, 1), group numbers (B,); a query may be in several batches."""
        self.scores.append(scores.detach().float().reshape(-1))
        self.relevance.append(relevance.float().reshape(-1))
        self.groups.append(groups)

    def compute(self) -> dict[str, Tensor]:
        """Return the means, the number of queries left out since none of their documents is relevant, and the table.

        The table, `queries`, is (Q, 3 + measures): each query's number, its documents, how many of them are relevant,
        and its figures, NaN if it is left out. The means are NaN if all queries are left out.
        """
        queries = RankedQueries.from_scores(*(dim_zero_cat(x) for x in (self.scores, self.relevance, self.groups)))
        counted = queries.relevant > 0
        figures = {name: measure(queries) for name, measure in self.measures.items()}
        means = {name: values[counted].mean().float() for name, values in figures.items()}
        columns = [queries.groups, queries.documents, queries.relevant]
        columns += [torch.where(counted, values, torch.nan) for values in figures.values()]
        table = torch.stack([column.double() for column in columns], dim=1)
        return means | {"queries_left_out": (~counted).sum().float(), "queries": table}
