"""The quality of a fitted student: its fidelity to the teacher, its size, and the stability of its splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.models.estimators.cores import TreesCore
from tutelage.models.estimators.module import FittedEstimator

RESAMPLES = 20
LEVELS = 3
ROOT = "root"


def fidelity(student: FittedEstimator, x: Tensor, teacher_outputs: Tensor) -> dict[str, float]:
    """Return figures on how closely a student follows its teacher on the samples x (N, F).

    Of a classifier: the `agreement`, the fraction of samples with the teacher's class; and `kl`, the mean divergence
    KL(teacher ‖ student). Of a regressor: `r2`, the fraction of the variance of the teacher's values that the student
    explains; and `rmse`, the root mean squared difference.
    """
    outputs, taught = student(x).double(), teacher_outputs.detach().double()
    if student.facts.is_classifier:
        log_teacher = taught.log_softmax(1)
        divergence = (log_teacher.exp() * (log_teacher - outputs.log_softmax(1))).sum(1).mean()
        agreement = (outputs.argmax(1) == taught.argmax(1)).double().mean()
        return {"agreement": float(agreement), "kl": float(divergence)}
    taught = taught.reshape(outputs.shape)
    squared = (outputs - taught).square().mean()
    variance = (taught - taught.mean(0)).square().mean()
    return {"r2": float(1 - squared / variance.clamp_min(1e-300)), "rmse": float(squared.sqrt())}


def size(student: FittedEstimator) -> dict[str, int]:
    """Return the figures of a student's size: `trees`, `depth` and `leaves`, or `weights` of a linear model."""
    core = student.core
    if isinstance(core, TreesCore):
        return {"trees": core.tree_count, "depth": core.depth, "leaves": core.leaf_count}
    return {"weights": core.outputs * core.features}


@dataclass(frozen=True)
class SplitStability:
    """The stability of one split of a tree over bootstrap resamples of its training samples.

    Args:
        place: "root", "root left", "root left right" …
        column: the column that most resamples compare there.
        share: the fraction of the resamples that do.
        middle: the median of their thresholds.
        low, high: the quartiles of their thresholds.
    """

    place: str
    column: str
    share: float
    middle: float
    low: float
    high: float


def stability(
    fit: Callable[[Tensor], FittedEstimator],
    samples: int,
    *,
    resamples: int = RESAMPLES,
    levels: int = LEVELS,
    seed: int = 0,
) -> list[SplitStability]:
    """Return the stability of the first splits of a tree: `resamples` trees are fitted to bootstrap resamples.

    Args:
        fit: fits a tree to the samples of these numbers, with repetition.
        samples: the number of samples.
        resamples: the number of resamples.
        levels: the number of levels, from the root, whose splits are compared.
        seed: chooses the resamples.

    Raises: ConfigError if `fit` doesn't return single trees.
    """
    generator = torch.Generator().manual_seed(seed)
    splits: dict[str, list[tuple[str, float]]] = {}
    for _ in range(resamples):
        tree = fit(torch.randint(samples, (samples,), generator=generator))
        for place, split in first_splits(tree, levels).items():
            splits.setdefault(place, []).append(split)
    places = sorted(splits, key=lambda place: (place.count(" "), place))
    return [_summary(place, splits[place], resamples) for place in places]


def _summary(place: str, splits: list[tuple[str, float]], resamples: int) -> SplitStability:
    column, count = Counter(column for column, _ in splits).most_common(1)[0]
    thresholds = torch.tensor([threshold for name, threshold in splits if name == column], dtype=torch.float64)
    low, middle, high = thresholds.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
    return SplitStability(place, column, count / resamples, middle, low, high)


def first_splits(tree: FittedEstimator, levels: int) -> dict[str, tuple[str, float]]:
    """Return the column and the threshold of each split in the first levels of a single tree, by its place.

    Raises: ConfigError if it isn't a single tree.
    """
    core = single(tree)
    feature, left, right = (core.get_buffer(name).tolist() for name in ("feature", "left", "right"))
    threshold = core.get_parameter("threshold").tolist()
    splits: dict[str, tuple[str, float]] = {}
    pending = [(ROOT, int(core.get_buffer("roots")[0]), 0)]
    while pending:
        place, node, level = pending.pop()
        if left[node] == node or level == levels:
            continue
        splits[place] = tree.facts.columns[feature[node]], threshold[node]
        pending += [(f"{place} left", left[node], level + 1), (f"{place} right", right[node], level + 1)]
    return splits


def single(tree: FittedEstimator) -> TreesCore:
    """Return the core of a single tree.

    Raises: ConfigError if it is another estimator.
    """
    if not isinstance(tree.core, TreesCore) or tree.core.tree_count != 1:
        raise ConfigError(f"{tree.facts.source} isn't a single tree: splits and rules are those of student=tree.")
    return tree.core
