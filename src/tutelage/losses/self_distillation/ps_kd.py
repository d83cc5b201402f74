"""Kim, Ji, Yoon, Hwang: targets softened by the student's own past."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.base import Response
from tutelage.losses.functional.target_class import target_mask
from tutelage.utils.distributed import all_gather_samples
from tutelage.utils.options import Count, Fraction

PAPER_EPOCHS = 300


class PSKD(Response):
    r"""Soften the labels by the student's predictions of the previous epoch, increasingly during training.

    α = α_T·e/epochs in the e-th epoch (from 1);  L = −Σ_c ((1−α)·1[c=y] + α·p'_c)·log softmax(s)_c, with p' the
    probabilities of the epoch before; only the true class for a sample without an earlier prediction. It
    replaces the task loss. epochs: the epochs of the whole training; None: those of the run, or the paper's if they
    aren't known.

    Shapes: student (B, C) logits, targets (B,) int64, index (B,) int64 below N, epoch the number of epochs trained so
    far; no teacher; returns (B,). Memory: N·C numbers, gathered from all replicas.
    Paper: Kim, Ji, Yoon, Hwang. ICCV 2021. arXiv:2006.12000, eq. 4–6: α_T = 0.8 over 300 epochs.
    Raises: ConfigError if α_T isn't in [0, 1] or `epochs` isn't above 0, or for logits by position.
    """

    name = "ps_kd"
    paper = "Kim, Ji, Yoon, Hwang. ICCV 2021. arXiv:2006.12000"
    maskable = False
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)
    task_loss_weight = 0.0

    alpha: Fraction = 0.8
    epochs: Count | None = None

    def build(self, student: Tensor, teacher: Tensor | None, samples: int) -> None:
        if student.dim() != 2:
            raise ConfigError(
                f"PSKD stores one prediction per sample: got logits {tuple(student.shape)}, expected (B, C)."
            )
        self.predictions = nn.Buffer(student.new_zeros(samples, student.shape[1]))

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return (
            torch.randn(6, 5),
            None,
            {"targets": torch.randint(5, (6,)), "index": torch.randperm(40)[:6], "epoch": 1.0},
        )

    def forward(
        self,
        student: Tensor,
        teacher: Tensor | None = None,
        *,
        targets: Tensor,
        index: Tensor,
        epoch: float,
        epochs: int | None = None,
    ) -> Tensor:
        total_epochs = self.epochs or epochs or PAPER_EPOCHS
        past, hard = self.predictions[index], target_mask(student, targets).to(student)
        alpha = self.alpha * min((int(epoch) + 1) / total_epochs, 1.0) if epoch >= 1 else 0.0
        has_past = past.sum(1, keepdim=True) > 0
        soft = torch.where(has_past, hard + alpha * (past.to(student) - hard), hard)
        if self.training:
            index, predictions = all_gather_samples([index, student.detach().softmax(1)], len(index))
            self.predictions[index] = predictions.to(self.predictions)
        return -(soft * F.log_softmax(student, dim=1)).sum(1)
