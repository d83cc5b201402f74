"""Yu, Yazici, Liu, van de Weijer, Cheng, Ramisa: matching of distances (relative) or of embeddings (absolute)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Relation, require_same_shape, require_vectors
from tutelage.losses.functional.pairwise import squared_distances

PAPER = "Yu, Yazici, Liu, van de Weijer, Cheng, Ramisa. CVPR 2019. arXiv:1904.03624"


class RelativeTeacher(Relation):
    r"""Match the distances between the samples of a batch, without dividing by their mean.

    L = |‖s_i − s_j‖ − ‖t_i − t_j‖|, averaged over all j for each sample i; with `frobenius` the norm of all the batch's
    differences, √Σ_ij (‖s_i − s_j‖ − ‖t_i − t_j‖)², one number.

    Shapes: student (B, …), teacher (B, …), flattened; returns (B,), or () with `frobenius`; 0 for a batch of one.
    Paper: Yu, Yazici, Liu, van de Weijer, Cheng, Ramisa. Learning metrics from teachers. CVPR 2019. arXiv:1904.03624,
    the relative teacher, as in the paper; the authors' code has `frobenius`. The absolute one: `absolute_teacher`.
    """

    name = "relative_teacher"
    paper = PAPER
    flattens = True
    ignores = ("translation", "rotation", "order of channels", "swapped sides")

    frobenius: bool = False

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        difference = distances(student) - distances(teacher)
        return difference.norm() if self.frobenius else difference.abs().mean(1)


class AbsoluteTeacher(Relation):
    r"""Match the embedding itself, by the unsquared distance.

    L = ‖s_i − t_i + 10⁻⁶‖₂, with the small number for the gradient where both are equal.

    Shapes: student, teacher (B, D); returns (B,). Where the widths differ, a linear layer maps the student's to the
    teacher's.
    Paper: Yu, Yazici, Liu, van de Weijer, Cheng, Ramisa. Learning metrics from teachers. CVPR 2019. arXiv:1904.03624,
    the absolute teacher; the small number is from the authors' code. No published numbers were compared.
    Raises: ConfigError if shapes differ.
    """

    name = "absolute_teacher"
    paper = PAPER
    connector = "linear"

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_vectors(self, student, teacher)
        require_same_shape(self, student, teacher)
        return F.pairwise_distance(student, teacher)


def distances(x: Tensor) -> Tensor:
    """The distances between samples: (B, D) → (B, B)."""
    squared = squared_distances(x)
    return squared.clamp_min(1e-12).sqrt()
