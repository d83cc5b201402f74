"""Pseudo-labels: the teacher's decisions as labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.utils.options import Fraction


class PseudoLabel(Response):
    r"""Cross-entropy with the teacher's classes; samples of which it isn't sure count 0.

    L = 1[max softmax(t) ≥ τ] · −log softmax(s)[argmax t]; the mean is over all samples, as in FixMatch.

    threshold: τ in [0, 1], the least probability of the teacher's class; 0 takes each decision, FixMatch has 0.95.
    Shapes: student, teacher (B, C, …) logits; returns (B, …).
    Paper: Lee. ICML Workshop 2013 (pseudo-labels); the threshold from Sohn, Berthelot, Li et al. NeurIPS 2020.
    arXiv:2001.07685, whose teacher is the student itself on a weak augmentation. No published numbers were compared.
    """

    paper = "Sohn, Berthelot, Li, Zhang, Carlini, Cubuk, Kurakin, Zhang, Raffel. NeurIPS 2020. arXiv:2001.07685"
    ignores = ("shift of logits",)
    zero_at_equal = False

    threshold: Fraction = 0.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        confidence, label = teacher.softmax(1).max(1)
        return F.cross_entropy(student, label, reduction="none") * (confidence >= self.threshold)
