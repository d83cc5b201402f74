"""Zhang, Song, Gao, Chen, Bao, Ma: shallow exits learn from the deepest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import Feature, Response, require_same_shape
from tutelage.losses.functional.divergence import soft_ce, softened_kl
from tutelage.utils.options import Temperature


class BYOT(Response):
    r"""Match the deepest exit's softened class probabilities in every shallow exit.

    L = Σ_i T²·KL(softmax(sg z/T) ‖ softmax(z_i/T)); sg: without gradient.

    Shapes: student, the shallow exits' logits, a list of (B, C); teacher, the deepest exit's (B, C) of the same model;
    returns (B,).
    Paper: Zhang, Song, Gao, Chen, Bao, Ma. ICCV 2019. arXiv:1905.08094, eq. 4, with weight α alongside (1 − α) of every
    exit's loss on the labels. A well-known published code has the cross-entropy in place of the KL divergence
    (`entropy=False`).
    Raises: ConfigError if the temperature isn't above 0, or the two differ in shape.
    """

    name = "byot"
    paper = "Zhang, Song, Gao, Chen, Bao, Ma. ICCV 2019. arXiv:1905.08094"
    list_inputs = ("student",)
    ignores = ("shift of logits",)
    default_weight = 0.1
    task_loss_weight = 0.9

    temperature: Temperature = 3.0
    entropy: bool = True

    def forward(self, student: list[Tensor], teacher: Tensor) -> Tensor:
        values = torch.zeros_like(teacher[:, 0])
        for logits in student:
            require_same_shape(self, logits, teacher)
            if self.entropy:
                values = values + softened_kl(logits, teacher.detach(), self.temperature)
            else:
                values = values + self.temperature**2 * soft_ce(logits, teacher.detach(), self.temperature)
        return values

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Return two shallow exits' logits and the deepest exit's."""
        return [torch.randn(6, 5), torch.randn(6, 5)], torch.randn(6, 5), {}


class BYOTHint(Feature):
    r"""Match the deepest feature with a shallow exit's.

    L = ‖f_i − sg F‖², summed over an exit's feature; sg: without gradient.

    Shapes: student, a shallow exit's feature, projected to the teacher's shape; teacher, the deepest feature of the
    same model, both (B, …); returns (B,).
    Paper: Zhang, Song, Gao, Chen, Bao, Ma. ICCV 2019. arXiv:1905.08094, eq. 5. A well-known published code sums
    only elements that are above 0 on either side (`active=True`), and sums over samples, with weight 10⁻⁶.
    Raises: ConfigError if the two differ in shape.
    """

    paper = "Zhang, Song, Gao, Chen, Bao, Ma. ICCV 2019. arXiv:1905.08094"
    compares = "last"
    connector = "conv1x1"
    ignores = ("swapped sides",)
    default_weight = 1e-6

    active: bool = False

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        distance = (student - teacher.detach()).pow(2)
        if self.active:
            distance = distance * ((student > 0) | (teacher > 0))
        return distance.flatten(1).sum(1)
