"""Huang, You, Wang, Qian, Xu: correlation instead of equality."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.utils.options import NonNegative, Temperature


class DIST(Response):
    r"""Match the teacher's class probabilities up to shift and scale: within each sample, and across samples.

    p = softmax(z/T), ρ(x, y) = ⟨x − x̄, y − ȳ⟩ / (‖x − x̄‖·‖y − ȳ‖ + 10⁻⁸).
    L = β·T²·mean_b (1 − ρ(s_b, t_b)) + γ·T²·mean_c (1 − ρ(s_·c, t_·c)): the parts "inter" and "intra".

    Shapes: student, teacher (B, C, …) logits; each position counts as a sample, so the parts are (B·…,) and (C,).
    Paper: Huang, You, Wang, Qian, Xu. NeurIPS 2022. arXiv:2205.10536, eq. 9–11. As in the authors' code β = γ = 1 and a
    weight of 2 (the paper writes it as β = γ = 2), and T² keeps the gradient's magnitude.
    Raises: ConfigError if the temperature isn't above 0.
    """

    paper = "Huang, You, Wang, Qian, Xu. NeurIPS 2022. arXiv:2205.10536"
    ignores = ("shift of logits", "swapped sides")
    default_weight = 2.0

    beta: NonNegative = 1.0
    gamma: NonNegative = 1.0
    temperature: Temperature = 1.0

    def forward(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        require_same_shape(self, student, teacher)
        s, t = (rows(x / self.temperature).softmax(1) for x in (student, teacher))
        square = self.temperature**2
        return {
            "inter": self.beta * square * (1 - correlation(s, t)),
            "intra": self.gamma * square * (1 - correlation(s.T, t.T)) * min(len(s), 1),  # 0 where no sample counts
        }


def rows(logits: Tensor) -> Tensor:
    """Flatten logits (B, C, …) to rows (B·…, C)."""
    return logits.movedim(1, -1).flatten(0, -2)


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Return Pearson's ρ of each row of x with the same row of y; 0 where either is constant."""
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    return (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1) + 1e-8)
