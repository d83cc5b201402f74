"""Checks of regression: targets far from the others, samples in two splits, and a teacher against a linear model."""

from __future__ import annotations

import torch

from tutelage.data.data_module import DataModule
from tutelage.tasks.class_checks import judge_level, small_splits
from tutelage.utils.finding import Finding

FAR = 10.0
"""The distance from the mean, in standard deviations, beyond which a target is an outlier."""


def check_values(data: DataModule) -> list[Finding]:
    """Check the training targets for outliers, which rule the squared error."""
    assert data.values is not None
    if data.train.values is None:
        return []
    far = data.values.scale(data.train.values).abs() > FAR
    findings = []
    for name, count in zip(data.values.names, far.sum(0).tolist(), strict=True):
        if count:
            what = f"{count} training target(s) of {name} are more than {FAR:g} standard deviations from the mean"
            findings.append(Finding("warning", what, "check them, or use a loss that they affect less: huber or mae."))
    return findings or [Finding("ok", f"the targets lie within {FAR:g} standard deviations of their mean")]


def judge_r2(r2: float, least: float) -> list[Finding]:
    """Compare a trained teacher's R² on the validation split with 0, that of the mean, and with a linear model's."""
    what = f"the teacher's R² on the validation split is {r2:.3f}; always the mean gives 0"
    mend = "is it trained on these targets, scaled as here, with these inputs? Set teacher_epochs to train it first."
    return judge_level(what, r2 <= 0.02, mend, r2 < least, f"a linear model of small inputs {least:.3f}")


def linear_r2(data: DataModule) -> float:
    """Return the validation R² of a linear model of small inputs, fitted by ridge regression; at least 0."""
    from sklearn.linear_model import Ridge

    (x, y), (x_val, y_val) = small_splits(data)
    if len(torch.unique(y_val)) < 2:
        return 0.0
    return max(float(Ridge().fit(x, y).score(x_val, y_val)), 0.0)
