"""Hao, Guo, Jia, Han, Tang, Zhang, Hu, Wang: similarities between the patches of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import Feature, require_equal_counts
from tutelage.losses.functional.feature_maps import pool_to_smaller
from tutelage.losses.functional.pairwise import cosines
from tutelage.losses.functional.tokens import map_as_tokens
from tutelage.utils.options import Count, NonNegative


class Manifold(Feature):
    r"""Match the cosines between patches: within images, at the same position of all images, and drawn at random.

    M(F) = F̂·F̂ᵀ, F̂ tokens of unit length;  L = mean (M(s) − M(t))², weighted, averaged over layers: the parts "intra"
    (an image's N × N), "inter" (a position's B × B) and "random" (K × K, of K tokens drawn from all B·N).

    sampled: K.
    Shapes: student, teacher lists of maps (B, D, H, W) (a ViT's patch tokens as maps), widths may differ; the larger of
    a pair is average-pooled to the smaller. rand (B·H·W,) orders the tokens, the first K of which are drawn, instead of
    torch's generator. The parts are (layers,).
    Paper: Hao, Guo, Jia, Han, Tang, Zhang, Hu, Wang. NeurIPS 2022. arXiv:2107.01378. K and weights as in the authors'
    scripts, which compare the first four and the last four blocks.
    Raises: ConfigError if sampled isn't above 0, or the lists differ in length.
    """

    name = "manifold"
    paper = "Hao, Guo, Jia, Han, Tang, Zhang, Hu, Wang. NeurIPS 2022. arXiv:2107.01378"
    compares = "review"
    permutation_invariant = False  # the random part draws tokens
    ignores = ("scale", "rotation", "order of channels", "swapped sides")

    intra_weight: NonNegative = 4.0
    inter_weight: NonNegative = 0.1
    random_weight: NonNegative = 0.2
    sampled: Count = 192

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        student, teacher = ([torch.randn(6, 5, 4, 4) for _ in range(2)] for _ in range(2))
        return student, teacher, {"rand": torch.rand(6 * 16)}

    def forward(self, student: list[Tensor], teacher: list[Tensor], *, rand: Tensor | None = None) -> dict[str, Tensor]:
        require_equal_counts(self, student, teacher)
        pairs = [[map_as_tokens(x) for x in pool_to_smaller(s, t)] for s, t in zip(student, teacher, strict=True)]
        return {
            "intra": self.intra_weight * torch.stack([mismatch(s, t) for s, t in pairs]),
            "inter": self.inter_weight
            * torch.stack([mismatch(s.transpose(0, 1), t.transpose(0, 1)) for s, t in pairs]),
            "random": self.random_weight * torch.stack([self.random_mismatch(s, t, rand) for s, t in pairs]),
        }

    def random_mismatch(self, student: Tensor, teacher: Tensor, rand: Tensor | None) -> Tensor:
        """Return the mismatch of the same K tokens on both sides."""
        s, t = student.flatten(0, 1), teacher.flatten(0, 1)
        rand = torch.rand(len(s), device=s.device) if rand is None else rand
        drawn = rand.argsort()[: self.sampled]
        return mismatch(s[drawn], t[drawn])


def mismatch(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean square between the cosines of (…, N, D) and those of (…, N, D')."""
    return (cosines(student) - cosines(teacher)).pow(2).mean()
