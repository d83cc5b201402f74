"""Koratana, Kang, Bailis, Zaharia: intermediate representations."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Feature, require_same_shape


class LIT(Feature):
    r"""Match the output of each block.

    L = (s − t)², one value per element; a mean for each pair of stages, and their sum.

    Shapes: student, teacher of equal shape, (B, C, H, W); returns the same shape.
    Paper: Koratana, Kang, Bailis, Zaharia. ICML 2019. arXiv:1810.01937: each block of the student gets the
    output of the teacher's previous block as its input (`scheme=blockwise`), and there is no connector (`identity`).
    The weight is the 1 − β alongside KD at β = 0.75, halved as in the authors' code.
    Raises: ConfigError if the shapes differ.
    """

    paper = "Koratana, Kang, Bailis, Zaharia. ICML 2019. arXiv:1810.01937"
    connector = "conv1x1"
    ignores = ("swapped sides",)
    default_weight = 0.125

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        return (student - teacher).pow(2)
