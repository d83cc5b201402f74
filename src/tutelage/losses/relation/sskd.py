"""Xu, Liu, Li, Loy: self-supervision as an auxiliary task."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss, same_shape
from tutelage.losses.functional.divergence import softened_kl
from tutelage.utils.options import NonNegative, Share, Temperature


class SSKD(Loss):
    r"""Match the classes of images and of transformed images, and which image a transformed one resembles.

    Of n images x and their 3n transformed versions a, in the parts
    "ce": w_ce · −log softmax(s(x))[y];  "kd": w_kd · T_kd²·KL(t(x)/T_kd ‖ s(x)/T_kd);
    "tf": w_tf · T_tf²·KL(t(a)/T_tf ‖ s(a)/T_tf);
    "ss": w_ss · τ²·KL(softmax(A_t/τ) ‖ softmax(A_s/τ)), A_ij = cos(f(a_i), f(x_j)).
    "tf" and "ss" leave out those that the teacher gets worst: of the wrong ones (where the true class, or the image it
    was made of, isn't its first) a share `ratio` is kept, by the rank that it gives to the truth.

    Shapes: student and teacher lists of logits (n, 4, C) and the self-supervision head's features (n, 4, D), of each
    image and its three versions; targets (n,) int64. The parts are (n,), (n,), (3n,) and (3n,). It has the
    cross-entropy in it.
    Paper: Xu, Liu, Li, Loy. ECCV 2020. arXiv:2006.07114; all numbers as in the authors' code.
    Raises: ConfigError if a temperature isn't above 0, a ratio isn't in [0, 1], or the logits aren't of fours.
    """

    paper = "Xu, Liu, Li, Loy. ECCV 2020. arXiv:2006.07114"
    only_for = "rotated copies of each image"
    compares = "review"
    list_inputs = ("student", "teacher")
    zero_at_equal = False
    permutation_invariant = False
    task_loss_weight = 0.0

    ce_weight: NonNegative = 0.1
    kd_weight: NonNegative = 0.9
    tf_weight: NonNegative = 2.7
    ss_weight: NonNegative = 10.0
    kd_temperature: Temperature = 4.0
    tf_temperature: Temperature = 4.0
    ss_temperature: Temperature = 0.5
    ratio_tf: Share = 1.0
    ratio_ss: Share = 0.75

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        student, teacher = ([torch.randn(6, 4, 5), torch.randn(6, 4, width)] for width in (4, 6))
        return student, teacher, {"targets": torch.randint(5, (6,))}

    def forward(self, student: list[Tensor], teacher: list[Tensor], *, targets: Tensor) -> dict[str, Tensor]:
        same_shape(self, student[0], teacher[0])
        (s, s_made), (t, t_made) = apart(student[0]), apart(teacher[0])
        near_s, near_t = (similarities(features) for features in (student[1], teacher[1]))
        source = torch.arange(len(s), device=s.device).repeat_interleave(3)
        kept_tf = kept(t_made, targets.repeat_interleave(3), self.ratio_tf)
        kept_ss = kept(near_t, source, self.ratio_ss)
        return {
            "ce": self.ce_weight * F.cross_entropy(s, targets, reduction="none"),
            "kd": self.kd_weight * softened_kl(s, t, self.kd_temperature),
            "tf": self.tf_weight * kept_tf * softened_kl(s_made, t_made, self.tf_temperature),
            "ss": self.ss_weight * kept_ss * softened_kl(near_s, near_t, self.ss_temperature),
        }


def apart(x: Tensor) -> tuple[Tensor, Tensor]:
    """(n, 4, D) → the images' (n, D) and their versions' (3n, D)."""
    if x.dim() != 3 or x.shape[1] != 4:
        raise ConfigError(f"SSKD: given {tuple(x.shape)}, expected (n, 4, D), an image and its three versions.")
    return x[:, 0], x[:, 1:].flatten(0, 1)


def similarities(features: Tensor) -> Tensor:
    """(n, 4, D) → (3n, n), the cosine of each version with each image."""
    images, versions = apart(F.normalize(features, dim=2))
    return versions @ images.T


def kept(scores: Tensor, truth: Tensor, ratio: float) -> Tensor:
    """Of scores (N, C) and truths (N,): 0 for what is left out, else N over the number kept, (N,)."""
    rank = (scores > scores.gather(1, truth[:, None])).sum(1)
    wrong = (rank > 0).sum()
    keep = len(rank) - wrong + (wrong.double() * ratio).long()
    place = rank.argsort().argsort()  # which of equal rank come first doesn't matter
    return (place < keep).to(scores.dtype) * (len(rank) / keep.clamp_min(1))
