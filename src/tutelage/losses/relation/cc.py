"""Peng, Jin, Liu, Zhou, Wu, Liu, Li, Zhang: congruent correlations between samples."""

from __future__ import annotations

import math

from torch import Tensor, nn

from tutelage.losses.base import Relation
from tutelage.losses.functional.pairwise import cosines
from tutelage.utils.options import Positive, SmallCount, Width


class CC(Relation):
    r"""Match the correlations between the samples of a batch (Gaussian kernel, by its Taylor series).

    C_ij = e^(−2γ) · Σ_{p=0..P} (2γ)^p / p! · cos(x_i, x_j)^p;  L = (C(s)_ij − C(t)_ij)², averaged over j.

    Shapes: student (B, …), teacher (B, …), flattened; returns (B,), 0 for a batch of one.
    Paper: Peng, Jin, Liu, Zhou, Wu, Liu, Li, Zhang. ICCV 2019. arXiv:1904.01802, with its γ and P.
    Raises: ConfigError if γ or the order isn't above 0.
    """

    paper = "Peng, Jin, Liu, Zhou, Wu, Liu, Li, Zhang. ICCV 2019. arXiv:1904.01802"
    flattens = True
    ignores = ("scale of each sample", "rotation", "swapped sides")

    gamma: Positive = 0.4
    order: SmallCount = 2

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (self.kernel(student) - self.kernel(teacher)).pow(2).mean(1)

    def kernel(self, x: Tensor) -> Tensor:
        """The kernel matrix C of a batch: (B, …) → (B, B)."""
        cosine, double = cosines(x.flatten(1)), 2 * self.gamma
        terms = (double**p / math.factorial(p) * cosine**p for p in range(self.order + 1))
        return math.exp(-double) * sum(terms, cosine.new_zeros(()))


class CCNeighbours(Relation):
    r"""The replacement for CC in a widely used benchmark: products of embedding differences of neighbouring samples.

    d_i = |W_s·s_i − W_t·t_i|;  L = ⟨d_i, d_{i+1}⟩, averaged over i. Both embeddings W are trained.

    Shapes: student (B, …), teacher (B, …), flattened; returns (B − 1,), or a single 0 for a batch of one. The order
    of the batch matters.
    Paper: not the correlation congruence of Peng et al. (see CC), whose name it bears in the benchmark of Tian,
    Krishnan, Isola. ICLR 2020. arXiv:1910.10699; its weight there is 0.02.
    Raises: ConfigError if dim isn't above 0.
    """

    name = "cc_neighbours"
    paper = "Benchmark of Tian, Krishnan, Isola. ICLR 2020. arXiv:1910.10699"
    flattens = True
    zero_at_equal = False
    permutation_invariant = False
    default_weight = 0.02

    dim: Width = 128

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        self.embed_student = nn.Linear(student[0].numel(), self.dim).to(student)
        self.embed_teacher = nn.Linear(teacher[0].numel(), self.dim).to(student)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        difference = (self.embed_student(student.flatten(1)) - self.embed_teacher(teacher.flatten(1))).abs()
        if len(difference) == 1:
            return 0 * difference.sum(1)
        return (difference[:-1] * difference[1:]).sum(1)
