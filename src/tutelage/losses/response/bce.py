"""Binary cross-entropy with labels that are independent of each other."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Response, require_same_shape
from tutelage.utils.options import ClassWeights


class BCE(Response):
    r"""Cross-entropy of each label by itself; it needs no teacher.

    L = −w_c·y·log σ(s) − (1 − y)·log(1 − σ(s)), one value per label that is known.

    Shapes: student (B, C) logits, targets (B, C) of a floating type: 1 where the sample has the label, 0 where it
    hasn't, below 0 where it isn't known; returns (N,), of the N known labels. pos_weight is w, one number per label: a
    weight above 1 raises recall; none: 1 for each.
    Raises: ConfigError if a weight is below 0, there isn't one for each label, or the shapes differ.
    Paper: the sum over labels by Boutell, Luo, Shen, Brown. Pattern Recognition 2004 (one-versus-all labels). No
    published numbers were compared.
    """

    paper = "Boutell, Luo, Shen, Brown. Pattern Recognition 2004 (one-versus-all labels)"
    response_kinds = ("labels",)
    needs_teacher = False
    maskable = False  # it leaves unknown labels out itself, since the weights are those of labels
    data_dependent_size = True
    compiles = False
    zero_at_equal = False
    task_loss_weight = 0.0

    pos_weight: ClassWeights = ()

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        targets = torch.randint(2, (6, 5)).float()
        targets[0, 1] = -1
        return torch.randn(6, 5), None, {"targets": targets}

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, targets: Tensor) -> Tensor:
        require_same_shape(self, student, targets)
        weight = student.new_tensor(self.pos_weight) if len(self.pos_weight) else None
        if weight is not None and len(weight) != student.shape[1]:
            raise ConfigError(f"BCE: {len(weight)} weights (pos_weight) for {student.shape[1]} labels: give one each.")
        truth = targets.clamp(min=0).to(student.dtype)
        values = F.binary_cross_entropy_with_logits(student, truth, pos_weight=weight, reduction="none")
        return values[targets >= 0]
