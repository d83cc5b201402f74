"""Hu, Wu, Li, Ma, Chen, Wang, Yan, Liu: the teacher's weight for each sample."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.policies.base import SampleWeight
from tutelage.utils.options import Width


class Geometry(SampleWeight):
    r"""Learn the teacher's weight for each sample from the student's, the teacher's and the target's distribution.

    S, T = softmax(s), softmax(t), G the true class's indicator, T̄ the teacher's mean of that class;
    a = σ(MLP([S − G, T − G, S − T, T̄ − G, S − T̄])), S without gradient.

    Shapes: student, teacher (B, C, …) logits, targets (B, …) int64; the MLP has one hidden layer; T̄ is the mean over
    the training batches so far, computed separately by each replica; returns a, (B, …) in (0, 1).
    Paper: Hu, Wu, Li, Ma, Chen, Wang, Yan, Liu. ICLR 2024. arXiv:2312.15112 (TGeo-KD), which trains the MLP on held-out
    data, through a step of the student (`scheme=bilevel`). The MLP's inputs and width are our reading.
    Raises: ConfigError if `hidden` isn't above 0.
    """

    paper = "Hu, Wu, Li, Ma, Chen, Wang, Yan, Liu. ICLR 2024. arXiv:2312.15112"

    hidden: Width = 64

    def build(self, student: Tensor, teacher: Tensor | None) -> None:
        classes = student.shape[1]
        self.net = nn.Sequential(nn.Linear(5 * classes, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1)).to(student)
        sum_dtype = torch.promote_types(student.dtype, torch.float32)
        self.sums = nn.Buffer(torch.zeros(classes, classes, dtype=sum_dtype, device=student.device))
        self.counts = nn.Buffer(torch.zeros(classes, 1, dtype=sum_dtype, device=student.device))

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor) -> Tensor:
        if self.training:
            self.update_means(teacher.detach(), targets)
        s, t = student.detach().softmax(1), teacher.softmax(1)
        g = F.one_hot(targets, student.shape[1]).movedim(-1, 1).to(student)
        class_mean = (self.sums / self.counts.clamp_min(1))[targets].movedim(-1, 1).to(student)
        features = torch.cat([s - g, t - g, s - t, class_mean - g, s - class_mean], dim=1)
        return self.net(features.movedim(1, -1)).squeeze(-1).sigmoid()

    def update_means(self, teacher: Tensor, targets: Tensor) -> None:
        """Add the teacher's probabilities to the running sums of their classes."""
        p = teacher.softmax(1).movedim(1, -1).flatten(0, -2).to(self.sums)
        self.sums.index_add_(0, targets.flatten(), p)
        self.counts.index_add_(0, targets.flatten(), torch.ones_like(p[:, :1]))
