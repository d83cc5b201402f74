"""Zhang, Jiang, Hou, Wei, Han, Li, Cheng: soft labels from the student's predictions in the last epoch."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.base import Response
from tutelage.losses.functional.target_class import target_mask
from tutelage.utils.distributed import all_gather_samples
from tutelage.utils.options import Fraction


class OnlineLabelSmoothing(Response):
    r"""Soften each class's label by the student's mean prediction over its correctly classified samples.

    L = −Σ_c (α·1[c=y] + (1−α)·S_yc)·log p_c, p = softmax(s); S_y is the mean of p over the samples (and positions) of
    class y that were classified correctly in the previous epoch, 1/C for a class without any. first: the value of S in
    the first epoch, 0 (so that L is α times the cross-entropy) or, with "uniform", 1/C. It replaces the task loss.

    Shapes: student (B, C, …) logits, targets (B, …) int64, epoch: the training progress in epochs; it needs no teacher;
    returns (B, …).
    Memory: 2·C² numbers; predictions are gathered over all replicas.
    Paper: Zhang, Jiang, Hou, Wei, Han, Li, Cheng. IEEE TIP 2021. arXiv:2011.12562, α = 0.5; the first epoch and the
    class without a correct prediction as in the authors' code. Predictions are collected in training only.
    Raises: ConfigError if α isn't in [0, 1], `first` is another value, or the targets aren't class numbers.
    """

    name = "online_label_smoothing"
    paper = "Zhang, Jiang, Hou, Wei, Han, Li, Cheng. IEEE TIP 2021. arXiv:2011.12562"
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)
    task_loss_weight = 0.0

    alpha: Fraction = 0.5
    first: Literal["zero", "uniform"] = "zero"

    def build(self, student: Tensor, teacher: Tensor | None, samples: int) -> None:
        classes, wide = student.shape[1], torch.promote_types(student.dtype, torch.float32)
        zeros = torch.zeros(classes, classes, dtype=wide, device=student.device)
        self.labels = nn.Buffer(zeros + (1 / classes if self.first == "uniform" else 0))
        self.sums, self.counts = nn.Buffer(zeros), nn.Buffer(zeros[:, :1].clone())
        self.gathered_in = nn.Buffer(torch.zeros((), dtype=torch.long, device=student.device))

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, targets: Tensor, epoch: float) -> Tensor:
        hard = target_mask(student, targets).to(student)
        if self.training:
            self.start_epoch(int(epoch))
        soft = self.labels[targets].movedim(-1, 1).to(student)
        if self.training:
            self.accumulate(*all_gather_samples([student.detach(), targets], len(student)))
        return -(torch.lerp(soft, hard, self.alpha) * F.log_softmax(student, dim=1)).sum(1)

    def start_epoch(self, epoch: int) -> None:
        """At the first batch of a new epoch, take the means as the labels and reset the sums."""
        new = self.gathered_in < epoch
        means = torch.where(self.counts > 0, self.sums / self.counts.clamp_min(1), 1 / len(self.labels))
        self.labels.copy_(torch.where(new, means, self.labels))
        self.sums.mul_(~new)
        self.counts.mul_(~new)
        self.gathered_in.fill_(epoch)

    def accumulate(self, student: Tensor, targets: Tensor) -> None:
        """Add the probabilities of correctly classified samples to the sums of their class."""
        p = student.softmax(1).movedim(1, -1).flatten(0, -2).to(self.sums)
        y = targets.flatten()
        correct = (p.argmax(1) == y).to(p)[:, None]
        self.sums.index_add_(0, y, correct * p)
        self.counts.index_add_(0, y, correct)
