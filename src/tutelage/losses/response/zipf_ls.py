"""Liang, Li, Bi, Zhou: soft labels that decay with the rank, by Zipf's law."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.losses.base import Response
from tutelage.losses.functional.divergence import kl
from tutelage.losses.functional.target_class import log_among_others, target_mask
from tutelage.utils.options import Positive


class ZipfLS(Response):
    r"""Match, among the classes other than the true one, Zipf's law over the student's ranking of them.

    z_c ∝ rank_c^−power for c ≠ y, rank_c: 1 + the number of classes that score higher, including the true one;
    p̂ = softmax(s) over c ≠ y;  L = KL(z ‖ p̂), z without gradient. Classes with equal scores share the best rank.

    Shapes: student (B, C, …) logits, targets (B, …) int64; votes (B, C, …), if passed, are ranked in place of the
    logits: for the published dense ranking, the number of positions of the last map that the classifier assigns to each
    class. It needs no teacher; returns (B, …).
    Paper: Liang, Li, Bi, Zhou. ECCV 2022. arXiv:2207.12980, with the authors' ties, their ranks (which count the true
    class), and their weight of 0.1 (CIFAR-100).
    Raises: ConfigError if the power isn't above 0, or the targets aren't class numbers.
    """

    name = "zipf_ls"
    paper = "Liang, Li, Bi, Zhou. ECCV 2022. arXiv:2207.12980"
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)
    default_weight = 0.1

    power: Positive = 1.0

    def forward(
        self, student: Tensor, teacher: Tensor | None = None, *, targets: Tensor, votes: Tensor | None = None
    ) -> Tensor:
        true = target_mask(student, targets)
        log_rank = ranks(student.detach() if votes is None else votes).to(student).log()
        return kl(log_among_others(-self.power * log_rank, true), log_among_others(student, true))


def ranks(scores: Tensor) -> Tensor:
    """Return 1 + the number of classes that score higher, along dim 1 of (B, C, …), int64."""
    rising = scores.movedim(1, -1).contiguous()
    above = torch.searchsorted(rising.sort(dim=-1).values, rising, right=True)
    return (scores.shape[1] - above + 1).movedim(-1, 1)
