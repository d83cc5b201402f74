"""Wen, Lai, Qian: softer or harder labels for each sample."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.policies.base import Temperature
from tutelage.utils.options import NonNegative, Number, Positive

By = Literal["disagreement", "doubt"]


class Dynamic(Temperature):
    r"""Lower the temperature, and so harden the labels, of samples that are harder than the batch's average.

    τ = base + β·(mean ω − ω), at least `lowest`;  ω = (1 − ⟨s/‖s‖, t/‖t‖⟩)^γ with by="disagreement" (FLSW), or
    ω = 1/max softmax(s) with by="doubt" (CWSM). No gradient flows through τ.

    Shapes: student, teacher (B, C, …) logits; τ (B, …), the mean over all of them.
    Paper: Wen, Lai, Qian. Neurocomputing 2021. arXiv:1911.07471, whose base is 10 and β 40; here they are milder. The
    lower bound is Tutelage's: a temperature must be above 0.
    Raises: ConfigError if `base` or `lowest` isn't above 0, or `by` is neither of the two.
    """

    paper = "Wen, Lai, Qian. Neurocomputing 2021. arXiv:1911.07471"

    base: Positive = 4.0
    beta: Number = 4.0
    gamma: NonNegative = 1.0
    by: By = "disagreement"
    lowest: Positive = 0.5

    @torch.no_grad()
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.by == "disagreement":
            omega = (1 - F.cosine_similarity(student, teacher, dim=1)).clamp_min(0) ** self.gamma
        else:
            omega = 1 / student.softmax(1).amax(1)
        return (self.base + self.beta * (omega.mean() - omega)).clamp_min(self.lowest)
