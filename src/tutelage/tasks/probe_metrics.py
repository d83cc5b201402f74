"""The quality of embeddings by labelled data: k nearest neighbours, a linear classifier; and their spread."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

NEIGHBOURS = 20
TEMPERATURE = 0.07
CHUNK = 1024


class Spread(Metric):
    """The mean standard deviation of the unit vectors' components, times √D: 1 in random directions, 0 if all equal."""

    full_state_update = False

    total: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for state in ("total", "squares", "count"):
            self.add_state(state, torch.zeros(1, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, vectors: Tensor) -> None:
        """Add vectors (B, D)."""
        units = F.normalize(vectors.double(), dim=1)
        self.total, self.squares = self.total + units.sum(0), self.squares + units.square().sum(0)
        self.count = self.count + len(units)

    def compute(self) -> Tensor:
        """Return the spread."""
        mean = self.total / self.count
        variance = (self.squares / self.count - mean.square()).clamp(min=0)
        return variance.sqrt().mean() * variance.numel() ** 0.5


def knn_accuracy(bank: Tensor, labels: Tensor, queries: Tensor, targets: Tensor, classes: int) -> float:
    """Return the accuracy of `vote_of_neighbours`."""
    return float((vote_of_neighbours(bank, labels, queries, classes).argmax(1) == targets).double().mean())


def vote_of_neighbours(
    bank: Tensor, labels: Tensor, queries: Tensor, classes: int, k: int = NEIGHBOURS, temperature: float = TEMPERATURE
) -> Tensor:
    """Return the votes (Q, C) of the bank's k nearest vectors, each weighted by exp((cosine − 1) / temperature).

    Wu, Xiong, Yu, Lin. CVPR 2018. arXiv:1805.01978; k and temperature as in DINO.
    """
    bank, queries = F.normalize(bank, dim=1), F.normalize(queries, dim=1)
    votes = torch.zeros(len(queries), classes, dtype=torch.float64)
    for rows in torch.arange(len(queries)).split(CHUNK):
        cosines, nearest = (queries[rows] @ bank.T).topk(min(k, len(bank)), dim=1)
        weights = ((cosines.double() - 1) / temperature).exp()
        votes[rows] = torch.zeros(len(rows), classes, dtype=torch.float64).scatter_add(1, labels[nearest], weights)
    return votes


def probe_accuracy(bank: Tensor, labels: Tensor, queries: Tensor, targets: Tensor) -> float:
    """Return the accuracy of a logistic regression on the standardised vectors, fitted to the bank."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(classifier.fit(bank.numpy(), labels.numpy()).score(queries.numpy(), targets.numpy()))
