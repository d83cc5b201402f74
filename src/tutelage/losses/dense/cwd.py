"""Shu, Liu, Gao, Yan, Shen: channel-wise distributions over positions."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Dense, require_same_shape
from tutelage.losses.functional.divergence import softened_kl
from tutelage.utils.options import Temperature


class CWD(Dense):
    r"""Match each channel's softened distribution over positions.

    φ(z)_c = softmax over positions of z_c / T;  L = T² · KL(φ(t)_c ‖ φ(s)_c), one value per sample and channel.

    Shapes: student, teacher (B, C, …) logits or features of the same size; returns (B, C).
    Paper: Shu, Liu, Gao, Yan, Shen. ICCV 2021. arXiv:2011.13256, eq. 5. Weight 3 on logits, 50 on features.
    Raises: ConfigError if the temperature isn't above 0.
    """

    paper = "Shu, Liu, Gao, Yan, Shen. ICCV 2021. arXiv:2011.13256"
    default_weight = 3.0

    temperature: Temperature = 4.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        s, t = (x.flatten(0, 1).flatten(1) for x in (student, teacher))
        return softened_kl(s, t, self.temperature).unflatten(0, student.shape[:2])
