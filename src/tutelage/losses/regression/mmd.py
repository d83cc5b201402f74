"""The maximum mean discrepancy between made samples and real ones."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.losses.base import Estimates, require_same_shape
from tutelage.losses.functional.pairwise import squared_distances

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""The widths of the Gaussian kernels, in mean squared distances of the targets."""


class MMD(Estimates):
    r"""Match the distribution of a batch's targets, whichever target a response belongs to; it needs no teacher.

    L_i = mean_j k(s_i, s_j) + mean_j k(y_i, y_j) − 2·mean_j k(s_i, y_j), with k(x, y) = mean_m exp(−‖x − y‖²/(m·h)),
    m of ¼, ½, 1, 2, 4, and h the mean of ‖y_i − y_j‖²; the mean of these values is the squared discrepancy.

    Shapes: student (B, T, …) made samples, targets of the same shape, real ones; returns (B,).
    Paper: Li, Swersky, Zemel. ICML 2015. arXiv:1502.02761, which has kernels of fixed widths and the square root. No
    published numbers were compared.
    Raises: ConfigError if the shapes differ.
    """

    paper = "Li, Swersky, Zemel. ICML 2015. arXiv:1502.02761"
    response_kinds = ("values",)
    needs_teacher = False
    zero_at_equal = False
    task_loss_weight = 0.0

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, targets: Tensor) -> Tensor:
        require_same_shape(self, student, targets)
        count = len(student)
        distances = squared_distances(torch.cat([student, targets]))
        distances = distances / distances[count:, count:].mean().clamp_min(1e-12)
        kernel = torch.stack([(-distances / m).exp() for m in WIDTHS]).mean(0)
        made, real, across = kernel[:count, :count], kernel[count:, count:], kernel[:count, count:]
        return (made + real - 2 * across).mean(1)
