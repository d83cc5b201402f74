"""Yin, Molchanov, Alvarez, Li, Mallya, Hoiem, Jha, Kautz: images on which student and teacher disagree."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.divergence import kl, log_mixture
from tutelage.utils.options import FractionBelowHalf, Temperature


class JensenShannon(Response):
    r"""The Jensen–Shannon divergence between the predictions, which is symmetric.

    p = softmax(s/T), q = softmax(t/T), m = (p + q)/2;  L = ½·KL(p ‖ m) + ½·KL(q ‖ m), not scaled by T².
    reverse=True: ½·KL(m ‖ p) + ½·KL(m ‖ q). floor: p, q and m are clamped to [floor, 1 − floor], not renormalised.

    Shapes: student, teacher (B, C, …) logits; returns (B, …).
    Paper: Lin. IEEE Transactions on Information Theory 1991. Code of Yin et al. (see ADI) and of Fang et al. (see
    CMIContrast) has reverse=True, floor=0.01.
    Raises: ConfigError if the temperature isn't above 0, the floor not in [0, ½), or the shapes differ.
    """

    name = "jensen_shannon"
    paper = "Lin. IEEE Transactions on Information Theory 1991"
    ignores = ("shift of logits", "swapped sides")

    temperature: Temperature = 1.0
    reverse: bool = False
    floor: FractionBelowHalf = 0.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        p, q = (F.log_softmax(x / self.temperature, dim=1) for x in (student, teacher))
        m = log_mixture(p, q, 0.5)
        if self.floor:
            p, q, m = (x.clamp(math.log(self.floor), math.log1p(-self.floor)) for x in (p, q, m))
        divergences = (kl(m, p), kl(m, q)) if self.reverse else (kl(p, m), kl(q, m))
        return (divergences[0] + divergences[1]) / 2


class ADI(Response):
    r"""Optimise images on which the student and the teacher disagree (Adaptive DeepInversion's competition).

    L = 1 − clip(mean_batch JS(s, t), 0, 1), JS as in JensenShannon.

    Shapes: student, teacher (B, C, …) logits of generated images; returns a single value. It optimises the images; the
    student is then trained on them with another loss.
    Paper: Yin, Molchanov, Alvarez, Li, Mallya, Hoiem, Jha, Kautz. CVPR 2020. arXiv:1912.08795. The authors' code has
    T = 3, reverse=True and floor=0.01.
    Raises: ConfigError if the temperature isn't above 0, the floor not in [0, ½), or the shapes differ.
    """

    name = "adi"
    paper = "Yin, Molchanov, Alvarez, Li, Mallya, Hoiem, Jha, Kautz. CVPR 2020. arXiv:1912.08795"
    only_for = "generated images"
    maskable = False
    ignores = ("shift of logits", "swapped sides")
    zero_at_equal = False
    task_loss_weight = 0.0

    temperature: Temperature = 3.0
    reverse: bool = False
    floor: FractionBelowHalf = 0.0

    def __post_init__(self) -> None:
        self.divergence = JensenShannon(self.temperature, self.reverse, self.floor)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        divergence: Tensor = self.divergence(student, teacher)
        return 1 - divergence.mean().clamp(0, 1)
