"""Checks of multi-label data: labels that all samples have or none, and a teacher against chance."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.tasks.class_checks import judge_level, small_splits
from tutelage.utils.finding import Finding, list_first


def check_labels(data: DataModule) -> list[Finding]:
    """Check that each label has training samples with it and without it."""
    targets = data.train.values
    if targets is None:
        return []
    findings = []
    for fault, count in (("with", (targets > 0).sum(0)), ("without", (targets == 0).sum(0))):
        names = [name for name, number in zip(data.classes, count.tolist(), strict=True) if not number]
        if names:
            what = f"no training samples {fault} the label(s) {list_first(names)}"
            findings.append(Finding("warning", what, "add some, or leave the labels out of the data."))
    unknown = float((targets < 0).float().mean())
    what = f"each sample has {float((targets > 0).sum(1).float().mean()):.2g} labels on average"
    return findings or [Finding("ok", f"{what}; {unknown:.0%} of the labels aren't known" if unknown else what)]


def judge_precision(value: float, table: Tensor, least: float) -> list[Finding]:
    """Compare a trained teacher's mean average precision on the validation split with chance and a linear model's.

    table: the metrics' table of labels. least: the linear model's.
    """
    counted = table[table[:, 1] > 0]
    chance = float((counted[:, 1] / counted[:, 0]).mean()) if len(counted) else 0.0
    what = f"the teacher's mean average precision on the validation split is {value:.3f}, chance is {chance:.3f}"
    mend = "is it trained on these labels, in this order, with this normalisation? Set teacher_epochs to train it."
    is_chance, simple = value < chance + 0.05 * (1 - chance), f"a linear model of small inputs has {least:.3f}"
    return judge_level(what, is_chance, mend, value < least, simple)


def linear_precision(data: DataModule) -> float:
    """Return the mean average precision on validation samples of a linear model of small inputs, fitted by ridge."""
    from sklearn.linear_model import Ridge

    from tutelage.tasks.multi_label_metrics import label_figures

    (x, y), (x_val, y_val) = small_splits(data)
    known = (y >= 0).float()
    share = (y.clamp(min=0).sum(0) / known.sum(0).clamp(min=1)).expand_as(y)
    scores = Ridge().fit(x, torch.where(y < 0, share, y)).predict(x_val).reshape(len(x_val), -1)
    table = np.stack([label_figures(s, t) for s, t in zip(scores.T, y_val.double().numpy().T, strict=True)])
    precision = table[table[:, 1] > 0, 2]
    return float(precision.mean()) if len(precision) else 0.0
