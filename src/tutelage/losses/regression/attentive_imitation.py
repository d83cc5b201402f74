"""Saputra, de Gusmão, Almalioglu, Markham, Trigoni: imitation where the teacher is accurate."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.losses.base import Estimates, require_same_shape
from tutelage.losses.functional.distances import squared_distance
from tutelage.utils.options import Fraction, Positive


class AttentiveImitation(Estimates):
    r"""Match the targets, and the teacher's estimate by more the closer it is to the targets.

    e = ‖t − y‖²,  Φ = 1 − e/η,  L = α·‖s − y‖² + (1 − α)·Φ·‖s − t‖²: the parts "truth" and "imitation".
    η: the range max e − min e of the teacher's errors over the training set; None: over the batch. Errors above η make
    Φ negative; if all errors are equal, Φ is 1.

    Shapes: student, teacher (B, D, …) estimates, targets of the same shape, of a floating type; each part is (B,), with
    norms over all values of a sample's estimate.
    Paper: Saputra, de Gusmão, Almalioglu, Markham, Trigoni. ICCV 2019. arXiv:1908.00858.
    Raises: ConfigError if α isn't in [0, 1], η isn't above 0, or shapes differ.
    """

    name = "attentive_imitation"
    paper = "Saputra, de Gusmão, Almalioglu, Markham, Trigoni. ICCV 2019. arXiv:1908.00858"
    response_kinds = ("values",)
    zero_at_equal = False
    task_loss_weight = 0.0

    alpha: Fraction = 0.5
    eta: Positive | None = None

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor) -> dict[str, Tensor]:
        require_same_shape(self, student, teacher)
        require_same_shape(self, student, targets)
        error = squared_distance(teacher, targets)
        span = error.amax() - error.amin() if self.eta is None else error.new_tensor(self.eta)
        attention = 1 - error / torch.where(span > 0, span, torch.inf)
        return {
            "truth": self.alpha * squared_distance(student, targets),
            "imitation": (1 - self.alpha) * attention * squared_distance(student, teacher),
        }
