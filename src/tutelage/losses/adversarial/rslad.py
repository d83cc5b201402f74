"""Zi, Zhao, Ma, Jiang: robust soft labels; Huang et al.: the teacher's predictions of attacked inputs."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.divergence import kl, log_plus
from tutelage.utils.options import Fraction, NonNegative


class RSLAD(Response):
    r"""Match the robust teacher's predictions of clean inputs, with the student on both clean and attacked inputs.

    t = softmax(t(x));  "adversarial": w_a · Σ_c t_c·(log(t_c + ε) − log softmax(s(x'))_c);
    "natural": w_n times the same with s(x).

    Shapes: student (B, C, …) logits of the attacked inputs x', teacher of the clean ones x; student_clean the student's
    logits of x; the parts are (B, …). x' comes from `losses.adversarial.attack.perturb`. Labels aren't used.
    Paper: Zi, Zhao, Ma, Jiang. Revisiting adversarial robustness distillation. ICCV 2021. arXiv:2108.07969, ε = 0. The
    authors' code has ε = 10⁻⁵ and also averages over classes.
    Raises: ConfigError if a weight or ε is below 0, or shapes differ.
    """

    name = "rslad"
    paper = "Zi, Zhao, Ma, Jiang. ICCV 2021. arXiv:2108.07969"
    only_for = "attacked images"
    ignores = ("shift of logits",)
    zero_at_equal = False
    task_loss_weight = 0.0

    adv_weight: NonNegative = 5 / 6
    nat_weight: NonNegative = 1 / 6
    eps: Fraction = 0.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 5), torch.randn(6, 5), {"student_clean": torch.randn(6, 5)}

    def forward(self, student: Tensor, teacher: Tensor, *, student_clean: Tensor) -> dict[str, Tensor]:
        require_same_shape(self, student, teacher)
        require_same_shape(self, student_clean, teacher)
        log_t = F.log_softmax(teacher, dim=1)
        log_target = log_plus(log_t, self.eps) if self.eps else log_t
        sides = {"adversarial": (self.adv_weight, student), "natural": (self.nat_weight, student_clean)}
        return {
            name: weight * (log_t.exp() * (log_target - F.log_softmax(s, dim=1))).sum(1)
            for name, (weight, s) in sides.items()
        }


class AdaAD(Response):
    r"""Match the teacher's predictions of the attacked inputs, and of the clean inputs.

    L = "adversarial": α · KL(softmax(t(x')) ‖ softmax(s(x')));  "natural": (1 − α) · KL(softmax(t(x)) ‖ softmax(s(x))).

    Shapes: student (B, C, …) logits of the attacked inputs x', teacher of the clean ones x; student_clean the student's
    logits of x, teacher_adversarial the teacher's of x'; the parts are (B, …). x' comes from
    `losses.adversarial.attack.perturb`, through both models.
    Paper: Huang, Chen, Wang, Lu, Cheng, Wang. Boosting accuracy and robustness of student models via adaptive
    adversarial distillation. CVPR 2023. Published code of this name also averages over classes.
    Raises: ConfigError if α isn't in [0, 1], or shapes differ.
    """

    name = "adaad"
    paper = "Huang, Chen, Wang, Lu, Cheng, Wang. CVPR 2023"
    only_for = "attacked images"
    ignores = ("shift of logits",)
    zero_at_equal = False
    task_loss_weight = 0.0

    alpha: Fraction = 1.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        inputs = {"student_clean": torch.randn(6, 5), "teacher_adversarial": torch.randn(6, 5)}
        return torch.randn(6, 5), torch.randn(6, 5), inputs

    def forward(
        self, student: Tensor, teacher: Tensor, *, student_clean: Tensor, teacher_adversarial: Tensor
    ) -> dict[str, Tensor]:
        require_same_shape(self, student, teacher_adversarial)
        require_same_shape(self, student_clean, teacher)
        s, t, s_clean, t_clean = (
            F.log_softmax(x, dim=1) for x in (student, teacher_adversarial, student_clean, teacher)
        )
        return {"adversarial": self.alpha * kl(t, s), "natural": (1 - self.alpha) * kl(t_clean, s_clean)}
