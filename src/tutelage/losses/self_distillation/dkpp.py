"""Furlanello, Lipton, Tschannen, Itti, Anandkumar: dark knowledge with its classes permuted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape


class DKPP(Response):
    r"""Match the teacher's largest probability, and its other probabilities in a random order.

    L = KL(π(softmax(t)) ‖ softmax(s)), π permutes the classes other than the teacher's top one, independently for each
    sample.

    Shapes: student, teacher (B, C, …) logits; returns (B, …). The order is drawn in each call.
    Paper: Furlanello, Lipton, Tschannen, Itti, Anandkumar. ICML 2018. arXiv:1805.04770, eq. 10. No published numbers
    were compared.
    Raises: ConfigError if the two differ in shape.
    """

    name = "dkpp"
    paper = "Furlanello, Lipton, Tschannen, Itti, Anandkumar. ICML 2018. arXiv:1805.04770"
    zero_at_equal = False
    permutation_invariant = False

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        log_p = F.log_softmax(teacher, dim=1)
        descending = log_p.sort(dim=1, descending=True).values
        priority = torch.rand_like(log_p).scatter_(1, log_p.argmax(1, keepdim=True), 2.0)
        place = priority.argsort(dim=1, descending=True).argsort(dim=1)  # 0 for the teacher's top class
        permuted = descending.gather(1, place)
        return F.kl_div(F.log_softmax(student, dim=1), permuted, reduction="none", log_target=True).sum(1)
