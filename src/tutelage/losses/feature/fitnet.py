"""Romero, Ballas, Kahou, Chassang, Gatta, Bengio: hints."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Feature, require_same_shape


class FitNet(Feature):
    r"""Match a middle feature of the teacher through a learned regressor r.

    L = (r(s) − t)², one value per element; r is the term's connector.

    Shapes: student (the regressor's output) and teacher of equal shape, (B, C, H, W); returns the same shape.
    Paper: Romero, Ballas, Kahou, Chassang, Gatta, Bengio. ICLR 2015. arXiv:1412.6550, eq. 3, which has ½ and trains the
    hint in a separate stage. As in the published benchmarks it is a mean square, trained jointly, with weight 100.
    """

    paper = "Romero, Ballas, Kahou, Chassang, Gatta, Bengio. ICLR 2015. arXiv:1412.6550"
    compares = "hint"
    connector = "regressor"
    ignores = ("swapped sides",)
    default_weight = 100.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        return (student - teacher).pow(2)
