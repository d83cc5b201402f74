"""Passalis, Tefas: the probability that two samples are neighbours."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Relation


class PKT(Relation):
    r"""Match the conditional probabilities of the samples of a batch being each other's neighbours.

    p_ij = (cos(x_i, x_j) + 1) / Σ_k (cos(x_i, x_k) + 1);
    L = p(t)_ij · log((p(t)_ij + ε) / (p(s)_ij + ε)), ε = 10⁻⁷, averaged over all j for each sample i.

    Shapes: student (B, …), teacher (B, …), flattened; returns (B,), 0 for a batch of one.
    Paper: Passalis, Tefas. ECCV 2018. arXiv:1803.10837. As in the authors' code j = i counts, and the loss is a mean
    over j where the paper has a sum, hence the usual weight of 30000.
    """

    paper = "Passalis, Tefas. ECCV 2018. arXiv:1803.10837"
    flattens = True
    ignores = ("scale of each sample", "rotation")
    default_weight = 30000.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        s, t = neighbours(student), neighbours(teacher)
        return (t * ((t + 1e-7) / (s + 1e-7)).log()).mean(1)


def neighbours(x: Tensor) -> Tensor:
    """The conditional probabilities p, whose rows sum to 1: (B, …) → (B, B)."""
    x = x.flatten(1)
    x = x / (x.norm(dim=1, keepdim=True) + 1e-7)
    similarity = (x @ x.T + 1) / 2
    return similarity / similarity.sum(1, keepdim=True)
