"""Ba, Caruana: regression of the logits."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.policies.base import broadcast_by_position
from tutelage.utils.options import Temperature


class LogitMSE(Response):
    r"""Match the teacher's logits.

    L = ((s − t)/T)², one value per logit.

    Shapes: student, teacher (B, C, …) logits; temperatures, which replaces T if passed, is a number, (B,) or (B, …):
    one for each sample or position; returns (B, C, …).
    Paper: Ba, Caruana. NIPS 2014. arXiv:1312.6184, eq. 1, which has ½ and the sum over classes, and T = 1.
    Raises: ConfigError if the temperature isn't above 0, or the shapes differ.
    """

    name = "logit_mse"
    paper = "Ba, Caruana. NIPS 2014. arXiv:1312.6184"
    response_kinds = ()
    ignores = ("swapped sides",)

    temperature: Temperature = 1.0

    def forward(self, student: Tensor, teacher: Tensor, *, temperatures: Tensor | None = None) -> Tensor:
        require_same_shape(self, student, teacher)
        temperature = broadcast_by_position(self.temperature if temperatures is None else temperatures, student)
        return ((student - teacher) / temperature).pow(2)
