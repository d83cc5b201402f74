"""Xu, Liu, Li, Loy: self-supervision as an auxiliary task."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss, require_same_shape
from tutelage.losses.functional.divergence import softened_kl
from tutelage.utils.options import Fraction, NonNegative, Temperature


class SSKD(Loss):
    r"""Match predictions of images and of transformed images, and the similarities between the two.

    The parts, of n images x and their 3n transformed versions a:
    "ce": w_ce · −log softmax(s(x))[y];  "kd": w_kd · T_kd²·KL(t(x)/T_kd ‖ s(x)/T_kd);
    "tf": w_tf · T_tf²·KL(t(a)/T_tf ‖ s(a)/T_tf);
    "ss": w_ss · τ²·KL(softmax(A_t/τ) ‖ softmax(A_s/τ)), A_ij = cos(f(a_i), f(x_j)).
    "tf" and "ss" leave out the versions that the teacher gets most wrong: of those it gets wrong (where the true class,
    or the source image, doesn't rank first) the fraction `ratio` with the best rank of the true one is kept.

    Shapes: student and teacher lists of logits (n, 4, C) and the self-supervision head's features (n, 4, D), of each
    image and its three versions; targets (n,) int64. The parts are (n,), (n,), (3n,) and (3n,). The cross-entropy is
    included.
    Paper: Xu, Liu, Li, Loy. ECCV 2020. arXiv:2006.07114; all numbers as in the authors' code.
    Raises: ConfigError if a temperature isn't above 0, a ratio isn't in [0, 1], or dim 1 isn't of size 4.
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
    ratio_tf: Fraction = 1.0
    ratio_ss: Fraction = 0.75

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        student, teacher = ([torch.randn(6, 4, 5), torch.randn(6, 4, width)] for width in (4, 6))
        return student, teacher, {"targets": torch.randint(5, (6,))}

    def forward(self, student: list[Tensor], teacher: list[Tensor], *, targets: Tensor) -> dict[str, Tensor]:
        require_same_shape(self, student[0], teacher[0])
        (s, s_versions), (t, t_versions) = split_versions(student[0]), split_versions(teacher[0])
        near_s, near_t = (similarities(features) for features in (student[1], teacher[1]))
        source = torch.arange(len(s), device=s.device).repeat_interleave(3)
        factors_tf = keep_factors(t_versions, targets.repeat_interleave(3), self.ratio_tf)
        factors_ss = keep_factors(near_t, source, self.ratio_ss)
        return {
            "ce": self.ce_weight * F.cross_entropy(s, targets, reduction="none"),
            "kd": self.kd_weight * softened_kl(s, t, self.kd_temperature),
            "tf": self.tf_weight * factors_tf * softened_kl(s_versions, t_versions, self.tf_temperature),
            "ss": self.ss_weight * factors_ss * softened_kl(near_s, near_t, self.ss_temperature),
        }


def split_versions(x: Tensor) -> tuple[Tensor, Tensor]:
    """Split (n, 4, D) into the images' (n, D) and their versions' (3n, D)."""
    if x.dim() != 3 or x.shape[1] != 4:
        raise ConfigError(f"SSKD got {tuple(x.shape)}, expected (n, 4, D), an image and its three versions.")
    return x[:, 0], x[:, 1:].flatten(0, 1)


def similarities(features: Tensor) -> Tensor:
    """Return the cosine of each version with each image: (n, 4, D) → (3n, n)."""
    images, versions = split_versions(F.normalize(features, dim=2))
    return versions @ images.T


def keep_factors(scores: Tensor, targets: Tensor, ratio: float) -> Tensor:
    """Return the factors (N,) of scores (N, C) and targets (N,): 0 if left out, else N over the number kept."""
    rank = (scores > scores.gather(1, targets[:, None])).sum(1)
    wrong = (rank > 0).sum()
    keep = len(rank) - wrong + (wrong.double() * ratio).long()
    order = rank.argsort().argsort()  # the order among equal ranks doesn't matter
    return (order < keep).to(scores.dtype) * (len(rank) / keep.clamp_min(1))
