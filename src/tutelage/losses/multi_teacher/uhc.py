"""Vongkulbhisal, Vinayavekhin, Visentini-Scarzanella: one classifier from several classifiers of different classes."""

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
    r"""Match each teacher's class probabilities with the student's, renormalised over that teacher's classes.

    L = −Σ_{c ∈ K_m} p_mc · log ŝ_mc, p_m = softmax(t_m/T), ŝ_m = softmax of s/T over teacher m's classes K_m, the
    student's probabilities renormalised on them; one value per position, the sum over the teachers m.

    Shapes: student (B, C, …) logits; teacher a list of M logits (B, C_m, …); columns M lists of the student's class
    numbers that each teacher predicts, which may overlap (None: each predicts all); returns (B, …). It uses no labels.
    Paper: Vongkulbhisal, Vinayavekhin, Visentini-Scarzanella. CVPR 2019. arXiv:1904.06062, its cross-entropy with
    equal weights for all teachers. No published numbers were compared.
    Raises: ConfigError if the temperature isn't above 0, or logits and classes don't match.
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
        teacher_classes = (
            [list(range(student.shape[1]))] * len(teacher) if columns is None else [list(k) for k in columns]
        )
        counts = [[len(k) for k in teacher_classes], [logits.shape[1] for logits in teacher]]
        if not teacher or counts[0] != counts[1]:
            raise ConfigError(
                f"UHC: columns lists {counts[0]} classes for the teachers, whose logits have {counts[1]}: list the "
                "student's class numbers of each teacher's classes."
            )
        losses = [
            soft_ce(student[:, k], logits, self.temperature) for k, logits in zip(teacher_classes, teacher, strict=True)
        ]
        return torch.stack(losses).sum(0)
