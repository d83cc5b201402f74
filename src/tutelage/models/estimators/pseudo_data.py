"""Pseudo-samples between real ones, which a teacher labels: a tree fitted to many of them has stable splits.

The idea is that of knowledge distillation decision trees: Lu & Lee, NEJSDS 2025, arXiv 2206.04661. This sampler is
simpler than the paper's: it mixes neighbours, as SMOTE does (Chawla et al., JAIR 2002).
"""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOURS = 5
DISCRETE = 10
"""The largest number of different values of a column that is taken to be discrete."""


def sample_between(x: Tensor, count: int, seed: int = 0, neighbours: int = NEIGHBOURS) -> tuple[Tensor, Tensor]:
    """Return pseudo-samples (count, F), and the number of the sample from which each comes (count,).

    Each lies on the way from a sample to one of its nearest neighbours.

    Distances are those of the standardised columns. A column with at most `DISCRETE` different values keeps the first
    sample's, so that no pseudo-sample has half a category.
    """
    from sklearn.neighbors import NearestNeighbors

    generator = torch.Generator().manual_seed(seed)
    standardised = (x - x.mean(0)) / x.std(0, correction=0).clamp_min(1e-12)
    search = NearestNeighbors(n_neighbors=min(neighbours + 1, len(x))).fit(standardised.double().numpy())
    first = torch.randint(len(x), (count,), generator=generator)
    starts, of_each = first.unique(return_inverse=True)
    nearest = torch.from_numpy(search.kneighbors(standardised[starts].double().numpy(), return_distance=False))[of_each]
    choice = torch.randint(nearest.shape[1], (count, 1), generator=generator)
    second = nearest.gather(1, choice)[:, 0]
    share = torch.rand(count, 1, generator=generator, dtype=torch.float64).to(x.dtype)
    mixed = x[first] + share * (x[second] - x[first])
    discrete = torch.tensor([len(column.unique()) <= DISCRETE for column in x.unbind(1)])
    return torch.where(discrete, x[first], mixed), first
