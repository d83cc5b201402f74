"""Checks of tasks with classes: training samples of each class, and a teacher's accuracy against chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.data.splits import Split
from tutelage.utils.finding import Finding, list_first

EVALUATED_SAMPLES = 2000
"""The number of validation samples on which the teacher is evaluated."""

BETTER_ALONE = "the student alone will be better: train it longer, or use a better one."
"""The mend for a teacher that is worse than a simple model."""

PIXELS = 16
"""The side of the linear classifier's images."""


def check_classes(data: DataModule) -> list[Finding]:
    """Check that each class has training samples."""
    if data.train.labels is None:
        return []
    counts = torch.bincount(data.train.labels, minlength=len(data.classes))
    empty = [name for name, count in zip(data.classes, counts.tolist(), strict=True) if not count]
    if empty:
        mend = "add some, leave the classes out of the data, or raise limit."
        return [Finding("warning", f"no training samples of {list_first(empty)}", mend)]
    return [Finding("ok", f"each class has {int(counts.min())} training samples or more")]


def class_shares(confusion: Tensor, data: DataModule) -> Tensor:
    """Return each class's number of evaluated samples, (C,), from confusion counts (3, N)."""
    return torch.bincount(confusion[0], confusion[2], len(data.classes)).float()


def judge_accuracy(accuracy: float, shares: Tensor, where: str = "") -> list[Finding]:
    """Compare a trained teacher's accuracy (0…1) with chance and with the most frequent class.

    shares: (C,) each class's share of the samples. where: the label column in words, if there are several.
    """
    majority, chance = float(shares.max()), 1 / len(shares)
    what = f"the teacher's accuracy{where} on the validation split is {accuracy:.3f}, chance is {chance:.3f}"
    mend = (
        "is it trained on these classes, in this order, with this normalisation? Set teacher_epochs to train it first."
    )
    if accuracy < min(1.5 * chance, 0.6):
        return [Finding("error", what, mend)]
    if accuracy <= majority:
        return [Finding("warning", f"{what}, the most frequent class's share {majority:.3f}", mend)]
    return [Finding("ok", what)]


def judge_by_shares(values: Mapping[str, float], tables: Mapping[str, Tensor], data: DataModule) -> list[Finding]:
    """Compare the accuracy with that of the most frequent class."""
    shares = class_shares(tables["confusion"], data)
    return judge_accuracy(values["accuracy"], shares / shares.sum())


def judge_level(what: str, is_chance: bool, mend: str, is_below: bool, least: str) -> list[Finding]:
    """Return the finding on a teacher: an error at the level of chance, a warning below a simple model, or ok.

    what: its metric in words. mend: what to do at the level of chance. least: the simple model's metric in words.
    """
    if is_chance:
        return [Finding("error", what, mend)]
    if is_below:
        return [Finding("warning", f"{what}, and {least}", BETTER_ALONE)]
    return [Finding("ok", what)]


def compare_with_linear(accuracy: float, least: float) -> Iterator[Finding]:
    """Compare a teacher's accuracy with that of a linear classifier, which any student would reach alone."""
    if accuracy < least:
        what = f"the teacher's accuracy is {accuracy:.3f}, and that of a linear classifier of small inputs {least:.3f}"
        yield Finding("warning", what, BETTER_ALONE)


def linear_accuracy(data: DataModule) -> float:
    """Return the validation accuracy of a linear classifier of small inputs, fitted by ridge regression."""
    from sklearn.linear_model import RidgeClassifier

    (x, y), (x_val, y_val) = small_splits(data)
    return float(RidgeClassifier().fit(x, y).score(x_val, y_val)) if len(y.unique()) > 1 else 0.0


def spread_part(samples: Split) -> Split:
    """Return at most `EVALUATED_SAMPLES` samples, evenly spread."""
    return samples.take(torch.linspace(0, len(samples) - 1, min(EVALUATED_SAMPLES, len(samples))).long())


POOLING: Mapping[int, Callable[..., Tensor]] = {
    2: F.adaptive_avg_pool1d,
    3: F.adaptive_avg_pool2d,
    4: F.adaptive_avg_pool3d,
}
"""The pooling of inputs with that many dimensions after the samples'."""


def small_splits(data: DataModule) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the small inputs and the targets of a part of train, and of val."""
    subset = replace(data, train=spread_part(data.train), val=spread_part(data.val))
    return small_inputs(subset, "train"), small_inputs(subset, "val")


def small_inputs(data: DataModule, split: str) -> tuple[Tensor, Tensor]:
    """Return the inputs of a split, averaged down to a few positions, and its targets."""
    inputs, labels = [], []
    for batch in data.batches(split, 256, train=False):
        assert isinstance(batch.inputs, Tensor)
        assert batch.targets is not None
        x, pool = batch.inputs, POOLING.get(batch.inputs.dim() - 1)
        small = x if pool is None else pool(x, [min(length, PIXELS) for length in x.shape[2:]])
        inputs.append(small.flatten(1))
        labels.append(batch.targets)
    return torch.cat(inputs), torch.cat(labels)
