"""Yang, An, Zhou, Cai, Zhi, Wu, Xu, Zhang: mixed features against features of the mixture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.base import Feature, require_equal_counts, require_same_shape
from tutelage.nn.maps import average_positions
from tutelage.utils.options import Width


class MixSKDDiscriminator(Feature):
    r"""Discriminate mixed features from features of the mixture, with a discriminator D_l for each layer.

    L = −½ Σ_l [log σ(D_l(s_l)) + log(1 − σ(D_l(t_l)))], D_l an MLP of a map's mean over positions, with a hidden layer.
    The discriminators minimise it; with `reverse` the model, whose gradient is reversed, maximises it.

    Shapes: student, mixed features, and teacher, those of the mixture, from the same model: lists of maps (B, C, H, W)
    of equal shapes; returns (B,).
    Paper: Yang, An, Zhou, Cai, Zhi, Wu, Xu, Zhang. MixSKD. ECCV 2022. arXiv:2208.05768. In the authors' code the model
    minimises it too (`reverse=False`), D_l has one output per side and isn't trained, since no optimiser holds its
    parameters (`trained=False`).
    Raises: ConfigError if the two sides differ in number or shape, or hidden isn't a whole number above 0.
    """

    name = "mixskd_discriminator"
    paper = "Yang, An, Zhou, Cai, Zhi, Wu, Xu, Zhang. ECCV 2022. arXiv:2208.05768"
    compares = "review"
    connector = "conv1x1"
    zero_at_equal = False

    hidden: Width = 128
    reverse: bool = True
    trained: bool = True

    def build(self, student: list[Tensor], teacher: list[Tensor], samples: int) -> None:
        require_equal_counts(self, student, teacher)
        for s, t in zip(student, teacher, strict=True):
            require_same_shape(self, s, t)
        self.discriminators = nn.ModuleList(
            nn.Sequential(nn.Linear(x.shape[1], self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1)) for x in student
        ).to(student[0])
        self.discriminators.requires_grad_(self.trained)

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        require_equal_counts(self, student, teacher)
        losses = []
        for discriminator, s, t in zip(self.discriminators, student, teacher, strict=True):
            mixed, mixture = (discriminator(average_positions(self._with_reversal(x))).squeeze(1) for x in (s, t))
            losses.append(-(F.logsigmoid(mixed) + F.logsigmoid(-mixture)) / 2)
        return torch.stack(losses).sum(0)

    def _with_reversal(self, feature: Tensor) -> Tensor:
        """Return the feature unchanged; its gradient is reversed if `reverse` is set."""
        return 2 * feature.detach() - feature if self.reverse else feature
