"""The Huber loss between the outputs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.utils.options import Positive


class OutputHuber(Response):
    r"""Match the teacher's output by a loss that is quadratic for small differences and linear for large ones.

    L = ½·d² if |d| ≤ δ, else δ·(|d| − ½·δ), d = s − t, one value per output value.

    Shapes: student, teacher (B, …); returns (B, …).
    Paper: Huber. Annals of Mathematical Statistics 1964. No published numbers were compared.
    Raises: ConfigError if δ isn't above 0, or the shapes differ.
    """

    name = "output_huber"
    paper = "Huber. Annals of Mathematical Statistics 1964"
    response_kinds = ()
    ignores = ("order of channels", "swapped sides")

    delta: Positive = 1.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        return F.huber_loss(student, teacher, reduction="none", delta=self.delta)
