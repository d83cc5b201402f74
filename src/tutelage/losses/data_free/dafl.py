"""Chen, Wang, Xu, Yang, Liu, Shi, Xu, Xu, Tian: a generator trained with the teacher alone."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Loss
from tutelage.utils.options import NonNegative


class DAFL(Loss):
    r"""Optimise images for confident teacher predictions, balanced classes and strong activations.

    z the teacher's logits, f its feature, p = softmax(z), p̄ its mean over the batch;
    "one_hot": w_o · CE(z, argmax z);  "balance": w_b · Σ_c p̄_c·log p̄_c;  "activation": −w_a · |f|.

    Shapes: student, [logits (B, C), feature (B, …)] of the *teacher* on generated images, which this loss optimises;
    `teacher` isn't used. The parts are (B,), a single value, and of f's shape. The student is trained on the images by
    KD.
    Paper: Chen, Wang, Xu, Yang, Liu, Shi, Xu, Xu, Tian. Data-free learning of student networks. ICCV 2019.
    arXiv:1904.01186, its weights 1, 5 and 0.1. Reductions are those of the authors' code, which uses log₁₀, equivalent
    to dividing w_b by ln 10.
    """

    name = "dafl"
    paper = "Chen, Wang, Xu, Yang, Liu, Shi, Xu, Xu, Tian. ICCV 2019. arXiv:1904.01186"
    only_for = "generated images"
    list_inputs = ("student",)
    ignores = ("order of channels",)
    needs_teacher = False
    zero_at_equal = False
    task_loss_weight = 0.0

    one_hot: NonNegative = 1.0
    balance: NonNegative = 5.0
    activation: NonNegative = 0.1

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return [torch.randn(6, 5), torch.randn(6, 4)], None, {}

    def forward(self, student: list[Tensor], teacher: None = None) -> dict[str, Tensor]:
        logits, feature = student
        log_mean = F.log_softmax(logits, dim=1).logsumexp(0) - math.log(len(logits))
        return {
            "one_hot": self.one_hot * F.cross_entropy(logits, logits.argmax(1), reduction="none"),
            "balance": self.balance * (log_mean.exp() * log_mean).sum(),
            "activation": -self.activation * feature.abs(),
        }
