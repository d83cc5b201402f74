"""Eigen, Puhrsch, Fergus: the scale-invariant error of depth."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import Estimates, require_same_shape
from tutelage.utils.options import Fraction, Positive


class SILog(Estimates):
    r"""Match the targets' logarithms, partly up to a factor that is common to an image; it needs no teacher.

    d = log s − log y;  L = mean(d²) − λ·mean(d)², over an image's known positions. Below `floor` the logarithm goes on
    as its tangent, so that estimates of 0 or less have a loss and a gradient.

    Shapes: student (B, 1, H, W) estimates, targets of the same shape, NaN where they aren't known; returns (B,).
    Paper: Eigen, Puhrsch, Fergus. NIPS 2014. arXiv:1406.2283, eq. 4, with λ = 0.5. No published numbers were compared.
    Raises: ConfigError if an option is out of range, or the shapes differ.
    """

    name = "silog"
    paper = "Eigen, Puhrsch, Fergus. NIPS 2014. arXiv:1406.2283"
    response_kinds = ("maps",)
    needs_teacher = False
    zero_at_equal = False
    task_loss_weight = 0.0

    variance: Fraction = 0.5
    floor: Positive = 0.05

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Return maps of 6 samples."""
        return torch.rand(6, 1, 4, 5) + 0.5, None, {"targets": torch.rand(6, 1, 4, 5) + 0.5}

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, targets: Tensor) -> Tensor:
        require_same_shape(self, student, targets)
        known = (targets > 0).flatten(1)  # NaN isn't
        difference = self._log(student).flatten(1) - self._log(torch.where(targets > 0, targets, 1)).flatten(1)
        difference, count = torch.where(known, difference, 0), known.sum(1).clamp_min(1)
        return difference.square().sum(1) / count - self.variance * (difference.sum(1) / count).square()

    def _log(self, x: Tensor) -> Tensor:
        above = x.clamp_min(self.floor)
        return above.log() + (x - above) / self.floor
