"""Shen, Xing: soft labels stored as the teacher's few most likely classes."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Response, require_same_shape
from tutelage.utils.options import Count


class FKD(Response):
    r"""Cross-entropy with the teacher's few most likely classes, the remaining probability spread over the others.

    q_c = p_c for the K most likely classes, r = (1 − Σ_K p)/(C − K) for each other class;
    L = −Σ_c q_c·log softmax(s)_c.
    rest="none": the other classes get zero, and the K probabilities are scaled to sum to 1.

    Shapes: student (B, C, …) logits; teacher (B, C, …) logits, of which the `top` most likely classes are used, or None
    with teacher_topk_ids (B, K, …) int64 and teacher_topk_values (B, K, …), stored log-probabilities, in its place;
    returns (B, …).
    Paper: Shen, Xing. ECCV 2022. arXiv:2112.01528 (marginal smoothing, and re-normalisation), K = 5, or 10; Wu, Zhang,
    Peng, Liu, Xiao, Fu, Yuan. ECCV 2022 (TinyViT). arXiv:2207.10666 (spread).
    Raises: ConfigError if `top` isn't above 0, `rest` isn't known, or neither the teacher's logits nor stored classes
    that fit the student's logits are passed.
    """

    paper = "Shen, Xing. ECCV 2022. arXiv:2112.01528"
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)
    task_loss_weight = 0.0

    top: Count = 5
    rest: Literal["spread", "none"] = "spread"

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        """Logits of 9 classes, and the teacher's top 3."""
        values, ids = F.log_softmax(torch.randn(6, 9), dim=1).topk(3)
        return torch.randn(6, 9), None, {"teacher_topk_ids": ids, "teacher_topk_values": values}

    def forward(
        self,
        student: Tensor,
        teacher: Tensor | None = None,
        *,
        teacher_topk_ids: Tensor | None = None,
        teacher_topk_values: Tensor | None = None,
    ) -> Tensor:
        ids, p = self.top_classes(student, teacher, teacher_topk_ids, teacher_topk_values)
        log_s = F.log_softmax(student, dim=1)
        if self.rest == "none":
            return -(p / p.sum(1, keepdim=True) * log_s.gather(1, ids)).sum(1)
        others = student.shape[1] - ids.shape[1]
        rest = (1 - p.sum(1)).clamp_min(0) / max(others, 1)
        top = log_s.gather(1, ids)
        return -(p * top).sum(1) - rest * (log_s.sum(1) - top.sum(1))

    def top_classes(
        self, student: Tensor, teacher: Tensor | None, ids: Tensor | None, values: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the most likely classes and their probabilities, each (B, K, …)."""
        if ids is not None and values is not None:
            fits = ids.shape == values.shape and ids.shape[:1] + ids.shape[2:] == student.shape[:1] + student.shape[2:]
            if not fits:
                raise ConfigError(
                    f"FKD: the student's tensor is {tuple(student.shape)}, teacher_topk_ids {tuple(ids.shape)} and "
                    f"teacher_topk_values {tuple(values.shape)}, expected (B, C, …), (B, K, …) and (B, K, …)."
                )
            return ids, values.to(student).exp()
        if teacher is None:
            raise ConfigError(
                "FKD got neither the teacher's logits nor teacher_topk_ids with teacher_topk_values; pass one of the "
                "two."
            )
        require_same_shape(self, student, teacher)
        top = teacher.softmax(1).topk(min(self.top, teacher.shape[1]), dim=1)
        return top.indices, top.values
