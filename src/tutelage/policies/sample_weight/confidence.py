"""Furlanello, Lipton, Tschannen, Itti, Anandkumar: samples count by the teacher's confidence."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.policies.base import SampleWeight


class Confidence(SampleWeight):
    r"""Each sample counts as the teacher's largest probability of it, against the batch's mean.

    w = max_c p_c / mean_batch max_c p_c, p = softmax(t), without gradient. On the cross-entropy with the labels it is
    CWTM: what the teacher says of the classes is unused but for how sure it is.

    Shapes: teacher (B, C, …) logits; returns (B, …), 1 in the mean.
    Paper: Furlanello, Lipton, Tschannen, Itti, Anandkumar. ICML 2018. arXiv:1805.04770, eq. 9.
    """

    paper = "Furlanello, Lipton, Tschannen, Itti, Anandkumar. ICML 2018. arXiv:1805.04770"

    @torch.no_grad()
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        most = teacher.softmax(1).amax(1)
        return most / most.mean()
