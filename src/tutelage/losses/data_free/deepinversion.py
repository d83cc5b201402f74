"""Yin, Molchanov, Alvarez, Li, Mallya, Hoiem, Jha, Kautz: images optimised to a network's batch statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.utils.options import NonNegative


class DeepInversionBN(Loss):
    r"""Match generated images' statistics to the running ones of the teacher's batch normalisations.

    "mean": Σ_l w_l·‖μ(f_l) − μ_l‖₂;  "variance": Σ_l w_l·‖σ²(f_l) − σ²_l‖₂, with the mean μ and the biased variance σ²
    over samples and positions of f_l, and w_l = `first` for the first layer, else 1.

    Shapes: student, the list of inputs of the teacher's batch normalisations, (B, C_l, …), on generated images;
    `teacher` isn't used; means and variances, the running statistics (C_l,) of each; both parts are single values.
    Paper: Yin, Molchanov, Alvarez, Li, Mallya, Hoiem, Jha, Kautz. Dreaming to distill. CVPR 2020. arXiv:1912.08795,
    which has first = 1; the authors' code has 10.
    Raises: ConfigError if the numbers of layers and statistics differ.
    """

    name = "deepinversion_bn"
    paper = "Yin, Molchanov, Alvarez, Li, Mallya, Hoiem, Jha, Kautz. CVPR 2020. arXiv:1912.08795"
    only_for = "generated images"
    list_inputs = ("student",)
    needs_teacher = False
    zero_at_equal = False
    task_loss_weight = 0.0

    first: NonNegative = 1.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        statistics = {"means": (torch.randn(3), torch.randn(4)), "variances": (torch.rand(3), torch.rand(4))}
        return [torch.randn(6, 3, 4, 4), torch.randn(6, 4)], None, statistics

    def forward(
        self, student: list[Tensor], teacher: None = None, *, means: Sequence[Tensor], variances: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        if not 0 < len(student) == len(means) == len(variances):
            raise ConfigError(
                f"DeepInversionBN: {len(student)} layers, {len(means)} means and {len(variances)} variances, expected "
                "the same number of each; pass every batch normalisation's input with its running statistics."
            )
        flat = [f.transpose(0, 1).flatten(1) for f in student]
        mean_gaps = [(f.mean(1) - m).norm() for f, m in zip(flat, means, strict=True)]
        variance_gaps = [(f.var(1, correction=0) - v).norm() for f, v in zip(flat, variances, strict=True)]
        return {"mean": self._weighted_sum(mean_gaps), "variance": self._weighted_sum(variance_gaps)}

    def _weighted_sum(self, norms: list[Tensor]) -> Tensor:
        return torch.stack([self.first * norms[0], *norms[1:]]).sum()


class TotalVariation(Loss):
    r"""Optimise images to be smooth, with similar neighbouring pixels.

    d = the differences of pixels to the right, below, and on both diagonals, one map for each of the four;
    "l1": l1 · Σ_d mean|d|;  "l2": l2 · Σ_d ‖d‖₂ over the whole batch.

    Shapes: student, the images (B, C, H, W), H and W at least 2; `teacher` isn't used; both parts are single values.
    Paper: Yin, Molchanov, Alvarez, Li, Mallya, Hoiem, Jha, Kautz. CVPR 2020. arXiv:1912.08795, the image prior as in
    the authors' code; after Mahendran, Vedaldi. CVPR 2015. arXiv:1412.0035.
    Raises: ConfigError if the images aren't (B, C, H, W) or are too small.
    """

    name = "total_variation"
    paper = "Yin, Molchanov, Alvarez, Li, Mallya, Hoiem, Jha, Kautz. CVPR 2020. arXiv:1912.08795"
    only_for = "generated images"
    ignores = ("order of channels",)
    needs_teacher = False
    zero_at_equal = False
    task_loss_weight = 0.0

    l1: NonNegative = 0.0
    l2: NonNegative = 1e-4

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 3, 8, 8), None, {}

    def forward(self, student: Tensor, teacher: None = None) -> dict[str, Tensor]:
        if student.dim() != 4 or min(student.shape[-2:]) < 2:
            raise ConfigError(
                f"TotalVariation got {tuple(student.shape)}, expected images (B, C, H, W) of 2×2 or more."
            )
        x = student
        right, below = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
        diagonals = x[..., 1:, 1:] - x[..., :-1, :-1], x[..., 1:, :-1] - x[..., :-1, 1:]
        differences = (right, below, *diagonals)
        return {
            "l1": self.l1 * torch.stack([d.abs().mean() for d in differences]).sum(),
            "l2": self.l2 * torch.stack([d.norm() for d in differences]).sum(),
        }
