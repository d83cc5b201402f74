"""Koratana, Kang, Bailis, Zaharia: intermediate representations."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Feature, same_shape


class LIT(Feature):
    r"""Match what each block gives.

    L = (s − t)², one value per element; a mean for each pair of stages, which are added.

    Shapes: student, teacher alike, (B, C, H, W); returns the same.
    Paper: Koratana, Kang, Bailis, Zaharia. ICML 2019. arXiv:1810.01937: each block of the student gets what the
    teacher's block before gives (`scheme=blockwise`), and there is no connector (`identity`). The weight is the 1 − β
    beside KD at β = 0.75, halved as in the authors' code.
    Raises: ConfigError if the shapes differ.
    """

    paper = "Koratana, Kang, Bailis, Zaharia. ICML 2019. arXiv:1810.01937"
    connector = "conv1x1"
    ignores = ("swapped sides",)
    default_weight = 0.125

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        same_shape(self, student, teacher)
        return (student - teacher).pow(2)
