"""Zhu, Yao, Han, Zhang, Liu, Niu, Zhou, Xu, Yang: trust in the teacher according to its reliability."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.divergence import kl, softened_kl
from tutelage.utils.options import EpochsOrZero, NonNegative, Temperature


class IAD(Response):
    r"""Match the teacher where it withstands the attack, and the student's own clean prediction elsewhere.

    w = softmax(t(x'))_y^β, and 1 before the epoch `begin`;
    "teacher": w · T² · KL(softmax(t(x)/T) ‖ softmax(s(x')/T));  "self": γ·(1 − w) · KL(softmax(s(x)) ‖ softmax(s(x'))).
    weigh_teacher=False: the teacher's part isn't weighted by w. adversarial=True: its target is t(x') instead of t(x).

    Shapes: student (B, C, …) logits of the attacked inputs x', teacher of the clean ones x; student_clean the student's
    logits of x, teacher_adversarial the teacher's of x'; targets (B, …) int64; epoch: the training progress in epochs,
    `begin` if not passed; the parts are (B, …). The gradient flows through s(x) too, not through w.
    Paper: Zhu, Yao, Han, Zhang, Liu, Niu, Zhou, Xu, Yang. Reliable adversarial distillation with unreliable teachers.
    ICLR 2022. arXiv:2106.04928, whose warm-up is 60 epochs of 200. The authors' code of IAD-I has weigh_teacher=False
    and γ = 1, that of IAD-II adversarial=True and γ = T², in addition to the supervised loss and another teacher's KD.
    Raises: ConfigError if the temperature isn't above 0, or shapes differ.
    """

    name = "iad"
    paper = "Zhu, Yao, Han, Zhang, Liu, Niu, Zhou, Xu, Yang. ICLR 2022. arXiv:2106.04928"
    only_for = "attacked images"
    ignores = ("shift of logits",)
    zero_at_equal = False
    task_loss_weight = 0.0

    temperature: Temperature = 1.0
    beta: NonNegative = 0.1
    gamma: NonNegative = 1.0
    begin: EpochsOrZero = 0.0
    weigh_teacher: bool = True
    adversarial: bool = False

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        inputs = {"student_clean": torch.randn(6, 5), "teacher_adversarial": torch.randn(6, 5)}
        return torch.randn(6, 5), torch.randn(6, 5), inputs | {"targets": torch.randint(5, (6,))}

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        student_clean: Tensor,
        teacher_adversarial: Tensor,
        targets: Tensor,
        epoch: float | None = None,
    ) -> dict[str, Tensor]:
        target = teacher_adversarial if self.adversarial else teacher
        for logits in (target, teacher_adversarial, student_clean):
            require_same_shape(self, student, logits)
        log_p = -F.cross_entropy(teacher_adversarial, targets, reduction="none").detach()
        trust = torch.ones_like(log_p) if epoch is not None and epoch < self.begin else (self.beta * log_p).exp()
        teacher_kl = softened_kl(student, target, self.temperature)
        self_kl = kl(F.log_softmax(student_clean, dim=1), F.log_softmax(student, dim=1))
        teacher_part = trust * teacher_kl if self.weigh_teacher else teacher_kl
        return {"teacher": teacher_part, "self": self.gamma * (1 - trust) * self_kl}
