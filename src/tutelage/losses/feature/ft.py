"""Kim, Park, Kwak: factor transfer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.base import Feature, require_same_shape
from tutelage.losses.functional.feature_maps import pool_to_smaller
from tutelage.nn.maps import conv, conv_transpose, dimensions_of
from tutelage.utils.options import NonNegative, Power, PowerOrZero


class FT(Feature):
    r"""Match factors: the student's from a translator, the teacher's from a paraphraser that learns to reconstruct.

    L = w·|F(s)/‖F(s)‖₂ − F(t)/‖F(t)‖₂|^p, the part "factor", without gradient to F(t), one value per element;
    the part "reconstruction", (decode(F(t)) − t)², trains only the paraphraser.

    trains: "translator" omits the reconstruction and freezes the paraphraser, "paraphraser" omits the factor and needs
    no student: the paper's two stages; "both" trains them jointly.
    factor_weight: w. rate: the number of the factors' channels as a fraction of the teacher's; 0 compares the features
    themselves, without translator and paraphraser. power: average F^power over channels before normalising (0: don't).
    Shapes: student (B, C, H, W), teacher (B, C', H', W'); the larger factor is average-pooled to the smaller.
    Paper: Kim, Park, Kwak. NeurIPS 2018. arXiv:1802.04977, eq. 1–3. Mean over elements and w = 500 as in the authors'
    code. They train the paraphraser first (recipe `ft_stages`); here it is trained jointly. power=2 is RepDistiller's.
    Raises: ConfigError if rate or power is below 0 or p isn't above 0, if `trains` is unknown, or if the factors differ
    in channels.
    """

    paper = "Kim, Park, Kwak. NeurIPS 2018. arXiv:1802.04977"
    compares = "last"
    zero_at_equal = False

    factor_weight: NonNegative = 500.0
    rate: NonNegative = 0.5
    power: PowerOrZero = 0
    p: Power = 1
    trains: Literal["both", "paraphraser", "translator"] = "both"

    def __post_init__(self) -> None:
        if self.rate == 0 and self.trains != "both":
            raise ConfigError(
                f"FT(rate=0, trains={self.trains!r}): with rate=0 there is no paraphraser; use trains='both'."
            )

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        if self.rate == 0:
            return
        channels = teacher.shape[1]
        factors = max(int(channels * self.rate), 1)
        forward, back = (partial(kind, dimensions_of(teacher)) for kind in (conv, conv_transpose))
        if self.trains != "paraphraser":
            self.translator = convolutions(forward, student.shape[1], student.shape[1], factors, factors).to(student)
        self.paraphraser = convolutions(forward, channels, channels, factors, factors).to(student)
        if self.trains != "translator":
            self.decoder = convolutions(back, factors, factors, channels, channels).to(student)
        self.paraphraser.requires_grad_(self.trains != "translator")

    def forward(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        if self.rate == 0:
            return {"factor": self.factor_weight * self.compare(student, teacher)}
        factor = self.paraphraser(teacher)
        losses: dict[str, Tensor] = {}
        if self.trains != "paraphraser":
            losses["factor"] = self.factor_weight * self.compare(self.translator(student), factor.detach())
        if self.trains != "translator":
            losses["reconstruction"] = (self.decoder(factor) - teacher).pow(2)
        return losses

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the distance of two normalised factors (B, K, H, W)."""
        s, t = (self.normalised(x) for x in pool_to_smaller(student, teacher))
        require_same_shape(self, s, t)
        return (s - t).abs().pow(self.p)

    def normalised(self, factor: Tensor) -> Tensor:
        """Scale a factor to unit length, (B, K, H, W) → (B, K·H·W), or (B, H·W) with a power."""
        return F.normalize((factor.pow(self.power).mean(1) if self.power else factor).flatten(1), dim=1)


def convolutions(kind: Callable[..., nn.Module], *channels: int) -> nn.Sequential:
    """Build convolutions of size 3 of constant size through these numbers of channels, each with a leaky ReLU."""
    return nn.Sequential(*(x for c, d in pairwise(channels) for x in (kind(c, d, 3, padding=1), nn.LeakyReLU(0.1))))
