"""The weights of classes and labels in a task's loss, from their numbers of training samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.errors import ConfigError

BETA = 0.9999
"""The effective numbers' constant, as in the paper's code."""


def effective_number(counts: Tensor) -> Tensor:
    """Return (1 − βⁿ)/(1 − β) of n samples.

    Cui, Jia, Lin, Song, Belongie. CVPR 2019. arXiv:1901.05555, eq. 2
    """
    return -torch.expm1(counts.double() * torch.tensor(BETA, dtype=torch.float64).log()) / (1 - BETA)


def weights_of_classes(way: str | Sequence[float], counts: Tensor) -> list[float]:
    """Return a weight for each of C classes with n_c of N training samples.

    way: "balanced": N/(C·n_c), as scikit-learn's; "effective": inverse to the effective number, with the mean 1; or the
    weights themselves. A class without samples counts as one of one sample.
    Raises: ConfigError if there aren't as many weights as classes.
    """
    counts = counts.clamp(min=1)
    if way == "balanced":
        return list((counts.sum() / (len(counts) * counts.double())).tolist())
    if way == "effective":
        inverse = 1 / effective_number(counts)
        return list((inverse / inverse.mean()).tolist())
    return require_one_each(way, len(counts), "classes")


def weights_of_labels(way: str | Sequence[float], targets: Tensor) -> list[float]:
    """Return the weight of each label's positive samples, from label sets (N, C).

    way: "balanced": negative by positive samples; "effective": the ratio of their effective numbers; or the weights.
    Raises: ConfigError if there aren't as many weights as labels.
    """
    positive, negative = ((targets == state).sum(0).clamp(min=1) for state in (1, 0))
    if way == "balanced":
        return list((negative.double() / positive).tolist())
    if way == "effective":
        return list((effective_number(negative) / effective_number(positive)).tolist())
    return require_one_each(way, targets.shape[1], "labels")


def require_one_each(weights: str | Sequence[float], count: int, of: str) -> list[float]:
    """Return the weights.

    Raises: ConfigError if there isn't one for each class.
    """
    if len(weights) != count:
        raise ConfigError(f"class_weights: {len(weights)} weights for {count} {of}: give one each, or balanced.")
    return [float(weight) for weight in weights]
