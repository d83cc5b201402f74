"""Kim, Ji, Yoon, Hwang: targets softened by the student's own past."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.base import Response
from tutelage.losses.functional.target_class import is_target
from tutelage.utils.distributed import gathered
from tutelage.utils.options import Count, Share

PAPERS_EPOCHS = 300


class PSKD(Response):
    r"""Soften the true class by what the student said of the sample an epoch ago, the more the longer it trains.

    α = α_T·e/epochs in the e-th epoch (from 1);  L = −Σ_c ((1−α)·1[c=y] + α·p'_c)·log softmax(s)_c, with p' the
    probabilities of the epoch before; the true class alone for a sample that wasn't seen. It stands in place of the
    task's loss. epochs: of the whole; None: as many as the training has, or the paper's if nobody says.

    Shapes: student (B, C) logits, targets (B,) int64, index (B,) int64 below N, epoch how far training is; no teacher;
    returns (B,). Memory: N·C numbers, of what all replicas said.
    Paper: Kim, Ji, Yoon, Hwang. ICCV 2021. arXiv:2006.12000, eq. 4–6: α_T = 0.8 over 300 epochs.
    Raises: ConfigError if α_T isn't in [0, 1] or `epochs` above 0, or for answers by position.
    """

    name = "ps_kd"
    paper = "Kim, Ji, Yoon, Hwang. ICCV 2021. arXiv:2006.12000"
    maskable = False
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)
    task_loss_weight = 0.0

    alpha: Share = 0.8
    epochs: Count | None = None

    def build(self, student: Tensor, teacher: Tensor | None, samples: int) -> None:
        if student.dim() != 2:
            raise ConfigError(
                f"PSKD remembers an answer for each sample: given {tuple(student.shape)}, expected (B, C)."
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
        whole = self.epochs or epochs or PAPERS_EPOCHS
        past, hard = self.predictions[index], is_target(student, targets).to(student)
        alpha = self.alpha * min((int(epoch) + 1) / whole, 1.0) if epoch >= 1 else 0.0
        seen = past.sum(1, keepdim=True) > 0
        soft = torch.where(seen, hard + alpha * (past.to(student) - hard), hard)
        if self.training:
            index, said = gathered([index, student.detach().softmax(1)], len(index))
            self.predictions[index] = said.to(self.predictions)
        return -(soft * F.log_softmax(student, dim=1)).sum(1)
