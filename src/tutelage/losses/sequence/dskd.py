"""Zhang, Zhang, Sun, Chen, Xu: a shared space for student and teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.base import IGNORE_INDEX, Sequence
from tutelage.losses.functional.divergence import kl, log_mixture
from tutelage.utils.options import Temperature

Objective = Literal["forward_kl", "reverse_kl", "skewed_forward_kl", "skewed_reverse_kl", "js_divergence"]

OBJECTIVES: dict[Objective, Callable[[Tensor, Tensor], Tensor]] = {
    "forward_kl": lambda s, t: kl(t, s),
    "reverse_kl": lambda s, t: kl(s, t),
    "skewed_forward_kl": lambda s, t: kl(t, log_mixture(t, s, 0.1)),
    "skewed_reverse_kl": lambda s, t: kl(s, log_mixture(s, t, 0.1)),
    "js_divergence": lambda s, t: (kl(t, log_mixture(s, t, 0.5)) + kl(s, log_mixture(s, t, 0.5))) / 2,
}
Head = tuple[Tensor, ...]


class DSKD(Sequence):
    r"""Match tokens' hidden states in the student's space and in the teacher's, through each model's head.

    z_s = H_s·h_s, z_ts = sg(H_s)·P_t·h_t in the student's space, z_t = H_t·h_t, z_st = H_t·P_s·h_s in the teacher's;
    L = CE(z_ts, y) + D(z_s/T, sg(z_ts)/T) + KL(z_t/T ‖ z_st/T): the parts "truth", "student_space", "teacher_space".

    Shapes: student (B, T, D), teacher (B, T, D') last hidden states of the same tokens, targets (B, T) int64, −100 at
    positions that don't count; student_head ((V, D),), teacher_head ((V', D'),): the heads H, each a weight and
    optionally a bias. The projections P are trained. Each part is (N,). objective: D, which is KL in either direction,
    skewed (0.1) or not, or the Jensen–Shannon divergence.
    Paper: Zhang, Zhang, Sun, Chen, Xu. EMNLP 2024. arXiv:2406.17328, section 3.1. No T²; the authors' code sums over
    the tokens, and divides by their number outside the loss.
    Raises: ConfigError if the temperature isn't above 0, or the objective isn't known.
    """

    name = "dskd"
    paper = "Zhang, Zhang, Sun, Chen, Xu. EMNLP 2024. arXiv:2406.17328"
    only_for = "language models"
    zero_at_equal = False

    temperature: Temperature = 2.0
    objective: Objective = "forward_kl"

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        self.t2s = nn.Linear(teacher.shape[-1], student.shape[-1]).to(student)
        self.s2t = nn.Linear(student.shape[-1], teacher.shape[-1]).to(student)

    def forward(
        self, student: Tensor, teacher: Tensor, *, targets: Tensor, student_head: Head, teacher_head: Head
    ) -> dict[str, Tensor]:
        tokens = self.tokens(student, targets)
        s, t = student[tokens], teacher[tokens]
        z_ts = F.linear(self.t2s(t), *(x.detach() for x in student_head))
        log_s, log_ts = (
            F.log_softmax(z / self.temperature, dim=1) for z in (F.linear(s, *student_head), z_ts.detach())
        )
        log_t, log_st = (F.log_softmax(F.linear(h, *teacher_head) / self.temperature, dim=1) for h in (t, self.s2t(s)))
        return {
            "truth": F.cross_entropy(z_ts, self.align_targets(targets)[tokens], reduction="none"),
            "student_space": OBJECTIVES[self.objective](log_s, log_ts),
            "teacher_space": kl(log_t, log_st),
        }

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Hidden states of equal sizes, and heads for 7 tokens."""
        targets = torch.randint(7, (6, 5))
        targets[:, 0] = IGNORE_INDEX
        heads = {"student_head": (torch.randn(7, 4),), "teacher_head": (torch.randn(7, 4),)}
        return torch.randn(6, 5, 4), torch.randn(6, 5, 4), {"targets": targets, **heads}
