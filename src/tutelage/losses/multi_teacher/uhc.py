"""Vongkulbhisal, Vinayavekhin, Visentini-Scarzanella: one classifier out of several of different classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Response
from tutelage.losses.functional.divergence import soft_ce
from tutelage.utils.options import Temperature


class UHC(Response):
    r"""Match each teacher's class probabilities with the student's, as it spreads them over that teacher's classes.

    L = −Σ_{c ∈ K_m} p_mc · log ŝ_mc, p_m = softmax(t_m/T), ŝ_m = softmax of s/T over teacher m's classes K_m, the
    student's probabilities renormalised on them; one value per position, the sum over the teachers m.

    Shapes: student (B, C, …) logits; teacher a list of M logits (B, C_m, …); columns M lists of the student's numbers
    of each teacher's classes, which may overlap (None: each knows all); returns (B, …). It stands alone: no labels.
    Paper: Vongkulbhisal, Vinayavekhin, Visentini-Scarzanella. CVPR 2019. arXiv:1904.06062, its cross-entropy with all
    teachers alike. No published numbers were compared.
    Raises: ConfigError if the temperature isn't above 0, or answers and classes don't fit.
    """

    name = "uhc"
    paper = "Vongkulbhisal, Vinayavekhin, Visentini-Scarzanella. CVPR 2019. arXiv:1904.06062"
    list_inputs = ("teacher",)
    zero_at_equal = False
    task_loss_weight = 0.0
    ignores = ("shift of logits",)

    temperature: Temperature = 1.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 5), [torch.randn(6, 5) for _ in range(3)], {}

    def forward(
        self, student: Tensor, teacher: Sequence[Tensor], *, columns: Sequence[Sequence[int]] | None = None
    ) -> Tensor:
        known = [list(range(student.shape[1]))] * len(teacher) if columns is None else [list(k) for k in columns]
        counts = [[len(k) for k in known], [answer.shape[1] for answer in teacher]]
        if not teacher or counts[0] != counts[1]:
            raise ConfigError(
                f"UHC: of the student's classes {counts[0]} are the teachers', who answer {counts[1]}; name the "
                "columns of each one's classes."
            )
        each = [soft_ce(student[:, k], answer, self.temperature) for k, answer in zip(known, teacher, strict=True)]
        return torch.stack(each).sum(0)
