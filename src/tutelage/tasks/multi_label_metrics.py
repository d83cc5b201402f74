"""Metrics of independent labels: average precision and F1, over all labels and for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

COLUMNS = ("known", "positive", "precision", "threshold", "f1")
"""The columns of the table of labels."""


class MultiLabelMetrics(Metric):
    """Average precision and F1 of logits (B, C), over the samples of a split whose label is known.

    map: the mean over labels of average precision. macro_f1, micro_f1: F1 where a probability of 0.5 or more means the
    label, its mean over labels and that of all decisions. All are as in scikit-learn. Labels that no sample has are
    left out of both means, and counted in labels_left_out; without any label left they are 0.
    The table `labels` (C, 5): each label's known samples, those with the label, average precision (NaN if left out),
    the threshold of the probability at which F1 is highest, and F1 there.
    """

    logits: list[Tensor]
    targets: list[Tensor]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, response: Tensor, targets: Tensor) -> None:
        """Add a batch of logits (B, C) and targets (B, C)."""
        self.logits.append(response.detach().float())
        self.targets.append(targets)

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics by name, and the table of labels."""
        from sklearn.metrics import f1_score

        logits, targets = (dim_zero_cat(x).double().cpu().numpy() for x in (self.logits, self.targets))
        table = np.stack([label_figures(s, y) for s, y in zip(logits.T, targets.T, strict=True)])
        known, chosen = targets >= 0, logits >= 0
        counted = table[:, 1] > 0
        by_label = [
            f1_score(y[k] > 0, c[k], zero_division=0.0)
            for y, c, k in zip(targets.T[counted], chosen.T[counted], known.T[counted], strict=True)
        ]
        figures = {
            "map": np.mean(table[counted, 2]) if counted.any() else 0.0,
            "macro_f1": np.mean(by_label) if by_label else 0.0,
            "micro_f1": f1_score(targets[known] > 0, chosen[known], zero_division=0.0) if known.any() else 0.0,
            "labels_left_out": float((~counted).sum()),
        }
        return {name: torch.tensor(float(value), dtype=torch.float64) for name, value in figures.items()} | {
            "labels": torch.from_numpy(table)
        }


def label_figures(logits: Any, targets: Any) -> Any:
    """Return one label's row of the table, from logits (N,) and targets (N,)."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    known = targets >= 0
    score, truth = logits[known], targets[known] > 0
    if not truth.any():
        return np.array([known.sum(), 0, np.nan, 0.5, 0])
    precision, recall, cuts = precision_recall_curve(truth, score)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(f1[:-1].argmax())  # the last is of no prediction at all
    threshold = 1 / (1 + np.exp(-cuts[best]))
    return np.array([known.sum(), truth.sum(), average_precision_score(truth, score), threshold, f1[best]])
