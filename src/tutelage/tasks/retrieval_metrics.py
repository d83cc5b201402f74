"""Metrics of embeddings: search among the samples of a split, and verification of pairs.

Cosines are computed in double precision and rounded to multiples of 2⁻²⁴, so that equal ones stay equal whatever the
order of summation. Of equally similar samples each order is equally probable, and the metrics are expectations over
these orders: they don't depend on the order of the samples, nor on the number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from tutelage.data.augment import random_bits
from tutelage.errors import ConfigError, DataError, unknown

SIMILARITIES = ("cosine", "euclidean")
RANKS = (1, 5, 10)
FALSE_ACCEPT_RATES = ("1e-2", "1e-3")
MAX_PAIRS = 2**24
GRID = 2**24
"""The number of different cosines from 0 to 1; single precision has all of them."""

CHUNK = 2**22
"""The largest number of similarities that are computed at once."""


class EmbeddingMetric(Metric):
    """Abstract: a metric of all embeddings (N, D) of a split and their labels (N,).

    Args:
        similarity: "cosine", where a zero vector's similarity is 0 to all vectors, or "euclidean", minus the distance.
        options: options of torchmetrics.Metric.
    """

    full_state_update = False
    embeddings: list[Tensor]
    labels: list[Tensor]

    def __init__(self, similarity: str = "cosine", **options: Any) -> None:
        super().__init__(**options)
        if similarity not in SIMILARITIES:
            raise ConfigError(unknown("similarity", similarity, SIMILARITIES))
        self.similarity = similarity
        self.add_state("embeddings", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, response: Tensor, targets: Tensor) -> None:
        """Keep a batch of embeddings (B, D) and labels (B,)."""
        if response.dim() != 2 or targets.shape != response.shape[:1]:
            raise ConfigError(
                f"{type(self).__name__} got embeddings {tuple(response.shape)} and labels {tuple(targets.shape)}, "
                "expected (B, D) and (B,): use data with one class for each sample, and a network that outputs vectors."
            )
        self.embeddings.append(response.detach())
        self.labels.append(targets)

    def split(self) -> tuple[Tensor, Tensor]:
        """Return the embeddings and the labels of the whole split."""
        return dim_zero_cat(self.embeddings), dim_zero_cat(self.labels)


class Retrieval(EmbeddingMetric):
    """The recall_at_1, recall_at_5, recall_at_10 and map_at_r of the split: each sample searches among all others."""

    def compute(self) -> Any:
        """Return the metrics by name."""
        embeddings, labels = self.split()
        return search(embeddings, embeddings, labels, self.similarity)


class Verification(EmbeddingMetric):
    """The decision from the similarity whether two samples are of one class: roc_auc, eer, tar_at_far_1e-2 and 1e-3.

    roc_auc is the area under the receiver operating characteristic; eer, the equal error rate, is where its rates of
    false accepts and of false rejects are equal. tar_at_far is the largest fraction of accepted
    pairs of one class (true accepts) at thresholds that accept at most this fraction of the other pairs (false
    accepts). All pairs count if there are at most `max_pairs`; otherwise the pairs of max_pairs / (N − 1) of the
    samples with all others; these samples are drawn by addresses that depend on nothing but their numbers.

    Args:
        max_pairs: the largest number of pairs.
        similarity: as in EmbeddingMetric.
        options: options of torchmetrics.Metric.
    """

    def __init__(self, similarity: str = "cosine", max_pairs: int = MAX_PAIRS, **options: Any) -> None:
        super().__init__(similarity, **options)
        self.max_pairs = max_pairs

    def compute(self) -> Any:
        """Return the metrics by name."""
        embeddings, labels = self.split()
        return verify_pairs(*pairs(embeddings, labels, self.similarity, self.max_pairs))


def search(
    queries: Tensor, gallery: Tensor, labels: Tensor, similarity: str = "cosine", ranks: Sequence[int] = RANKS
) -> dict[str, Tensor]:
    """Return recall_at_k for each rank k, and map_at_r, of N queries that search in a gallery of the same N samples.

    queries, gallery: (N, D), each sample's vector as a query and in the gallery, where it isn't a result of its own
    query. A result is right if it has the query's label. recall_at_k is the fraction of queries with a right result
    among the first k; map_at_r is the mean of Σ_{i ≤ R} precision at i · [result i is right] / R, R the number of right
    ones in the gallery. Samples without another of their class aren't queries.
    Musgrave, Belongie, Lim. ECCV 2020. arXiv:2003.08505 (map_at_r).
    Raises: DataError if there is no query.
    """
    _, inverse, counts = labels.unique(return_inverse=True, return_counts=True)
    right = counts[inverse] - 1
    rows = right.nonzero()[:, 0]
    if not len(rows):
        raise DataError(
            f"none of the {len(labels)} samples shares its class with another, so that a search can't find anything; "
            "give two or more samples of each class."
        )
    depth = min(max(*ranks, int(right.max())), len(labels) - 1)
    totals = torch.zeros(len(ranks) + 1, dtype=torch.float64, device=labels.device)
    for chunk, similarities in similarity_chunks(queries, gallery, rows, similarity):
        similarities.scatter_(1, chunk[:, None], -torch.inf)
        ranking = SearchResults(similarities, labels == labels[chunk, None], depth)
        recalls = [1 - ranking.miss(min(rank, depth)) for rank in ranks]
        totals += torch.stack([*recalls, ranking.average_precision(right[chunk])]).sum(1).to(totals)
    names = [*(f"recall_at_{rank}" for rank in ranks), "map_at_r"]
    return dict(zip(names, totals.div(len(rows)).float(), strict=True))


class SearchResults:
    """The first results of queries, in groups of equally similar ones.

    Args:
        similarities: (Q, N), of each query and each sample.
        right: (Q, N), whether the sample has the query's class.
        depth: the number of results.
    """

    def __init__(self, similarities: Tensor, right: Tensor, depth: int) -> None:
        values, order = similarities.topk(depth, dim=1)
        begins = F.pad(values[:, 1:] != values[:, :-1], (1, 0))
        self.group = begins.cumsum(1)
        last, ends = self.group[:, -1:], similarities == values[:, -1:]  # the last group may go on beyond the depth
        size = torch.zeros(values.shape, dtype=torch.float64, device=values.device)
        hits = size.scatter_add(1, self.group, right.gather(1, order).to(size))
        size = size.scatter_add(1, self.group, torch.ones_like(size))
        size.scatter_(1, last, ends.sum(1, keepdim=True).to(size))
        hits.scatter_(1, last, (ends & right).sum(1, keepdim=True).to(size))
        of_result = [x.gather(1, self.group) for x in (size, hits, size.cumsum(1) - size, hits.cumsum(1) - hits)]
        self.size, self.hits, self.before, self.hits_before = of_result

    def average_precision(self, right: Tensor) -> Tensor:
        """Return the expected average precision at R, (Q,); right: R of each query, (Q,)."""
        rank = torch.arange(1, self.size.shape[1] + 1, device=right.device)
        earlier = (rank - 1 - self.before) * (self.hits - 1) / (self.size - 1).clamp(min=1)
        precision = (self.hits_before + earlier + 1) / rank
        return (self.hits / self.size * precision * (rank <= right[:, None])).sum(1) / right

    def miss(self, rank: int) -> Tensor:
        """Return the probability that none of the first results up to the rank is right, (Q,)."""
        size, hits, before, hits_before = (
            x[:, rank - 1] for x in (self.size, self.hits, self.before, self.hits_before)
        )
        drawn = rank - before
        missed = (log_draws(size - hits, drawn) - log_draws(size, drawn)).exp()
        return missed.masked_fill((hits_before > 0) | (drawn > size - hits), 0)


def log_draws(size: Tensor, drawn: Tensor) -> Tensor:
    """Return the logarithm of the number of sequences of `drawn` different items out of `size`."""
    return torch.lgamma(size + 1) - torch.lgamma((size - drawn).clamp(min=0) + 1)


def pairs(embeddings: Tensor, labels: Tensor, similarity: str, max_pairs: int) -> tuple[Tensor, Tensor]:
    """Return the similarities of the pairs that count, and whether both samples are of one class: (P,), (P,)."""
    n = len(labels)
    number = torch.arange(n, device=labels.device)
    rows = number
    if n * (n - 1) // 2 > max_pairs:
        rows = random_bits(0, number, 0, 1)[:, 0].argsort()[: max(1, max_pairs // (n - 1))]
    is_row = torch.zeros_like(number, dtype=torch.bool).index_fill_(0, rows, True)
    parts = [(torch.empty(0, device=labels.device), is_row[:0])]
    for chunk, values in similarity_chunks(embeddings, embeddings, rows, similarity):
        once = (number > chunk[:, None]) | ~is_row  # pairs of two rows occur in both
        parts.append((values[once], (labels[chunk, None] == labels)[once]))
    similarities, same = (torch.cat(part) for part in zip(*parts, strict=True))
    return similarities, same


def verify_pairs(similarities: Tensor, same: Tensor) -> dict[str, Tensor]:
    """Return roc_auc, eer and tar_at_far for each of `FALSE_ACCEPT_RATES`; equal similarities are accepted together.

    Raises: DataError if there are no pairs of one class, or no others.
    """
    genuine, impostor = similarities[same], similarities[~same].sort().values
    if not (len(genuine) and len(impostor)):
        raise DataError(
            f"{len(genuine)} pairs of one class and {len(impostor)} of two classes, expected both kinds: give two or "
            "more classes, and two or more samples of each."
        )
    below, up_to = torch.searchsorted(impostor, genuine), torch.searchsorted(impostor, genuine, right=True)
    values = {"roc_auc": (below.double().mean() + up_to.double().mean()) / 2 / len(impostor)}
    values["eer"] = equal_error_rate(genuine.sort().values, impostor)
    for rate in FALSE_ACCEPT_RATES:
        accepted = count_accepted(float(rate), len(impostor))
        values[f"tar_at_far_{rate}"] = (genuine > impostor[-1 - accepted]).double().mean()
    return {name: value.float() for name, value in values.items()}


def equal_error_rate(genuine: Tensor, impostor: Tensor) -> Tensor:
    """Return the error rate at the threshold with as many false accepts as false rejects, by fraction.

    Between two thresholds the rates lie on the line that joins them, as in an ROC curve.
    genuine, impostor: the similarities of the pairs of one class, and of the others, in ascending order.
    """
    thresholds = torch.cat([genuine, impostor]).unique()
    rejected, kept = (torch.searchsorted(x, thresholds).double() / len(x) for x in (genuine, impostor))
    rejects, accepts = (F.pad(x, (0, 1), value=1.0) for x in (rejected, kept))
    accepts = 1 - accepts
    last = int((rejects >= accepts).double().argmax())  # the first threshold with more false rejects
    if last == 0:
        return accepts[0]
    before, after = (rejects - accepts)[last - 1 : last + 1]
    return accepts[last - 1] + before / (before - after) * (accepts[last] - accepts[last - 1])


def count_accepted(rate: float, total: int) -> int:
    """Return the largest number of which the fraction of the total isn't above the rate, below 1."""
    number = int(rate * total)
    return number + ((number + 1) / total <= rate)


def similarity_chunks(
    queries: Tensor, gallery: Tensor, rows: Tensor, similarity: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield numbers of queries (Q,) and their similarities (Q, N) to the gallery, a part of the rows at a time."""
    queries, gallery = prepared(queries, similarity), prepared(gallery, similarity)
    for chunk in rows.split(max(1, CHUNK // len(gallery))):
        if similarity == "cosine":
            values = (queries[chunk] @ gallery.T).mul_(GRID).round_().div_(GRID)
        else:  # matrix products would give equal vectors distances other than 0
            values = -torch.cdist(queries[chunk], gallery, compute_mode="donot_use_mm_for_euclid_dist")
        yield chunk, values.float()


def prepared(x: Tensor, similarity: str) -> Tensor:
    """Return vectors in double precision, of unit length for the cosine."""
    return F.normalize(x.double(), dim=1) if similarity == "cosine" else x.double()
