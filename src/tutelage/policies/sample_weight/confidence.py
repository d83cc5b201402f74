"""Furlanello, Lipton, Tschannen, Itti, Anandkumar: samples weighted by the teacher's confidence."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.policies.base import SampleWeight


class Confidence(SampleWeight):
    r"""Weigh each sample by the teacher's largest probability for it, relative to the batch's mean.

    w = max_c p_c / mean_batch max_c p_c, p = softmax(t), without gradient. With the cross-entropy of the labels it
    is CWTM: of the teacher's probabilities only the largest is used.

    Shapes: teacher (B, C, …) logits; returns (B, …), of mean 1.
    Paper: Furlanello, Lipton, Tschannen, Itti, Anandkumar. ICML 2018. arXiv:1805.04770, eq. 9.
    """

    paper = "Furlanello, Lipton, Tschannen, Itti, Anandkumar. ICML 2018. arXiv:1805.04770"

    @torch.no_grad()
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        confidence = teacher.softmax(1).amax(1)
        return confidence / confidence.mean()
