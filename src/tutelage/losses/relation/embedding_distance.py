"""Distances between the embeddings of two backbones, as unit vectors."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Relation, require_same_shape, require_vectors
from tutelage.utils.options import Temperature


class EmbeddingCosine(Relation):
    r"""Match the direction of the teacher's embedding.

    L = 1 − ⟨s, t⟩, s and t unit vectors; s is the student's embedding through the term's connector.

    Shapes: student, teacher (B, D); returns (B,). No published numbers were compared.
    Paper: none; the cosine distance, a usual loss of feature distillation.
    Raises: ConfigError if the shapes differ.
    """

    name = "embedding_cosine"
    paper = "the cosine distance"
    connector = "linear"
    ignores = ("scale of each sample", "swapped sides")
    task_loss_weight = 0.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_vectors(self, student, teacher)
        require_same_shape(self, student, teacher)
        return 1 - (F.normalize(student, dim=1) * F.normalize(teacher, dim=1)).sum(1)


class EmbeddingL2(Relation):
    r"""Match the teacher's embedding, both as unit vectors, by the squared distance.

    L = ‖s − t‖², s and t unit vectors; twice the cosine distance.

    Shapes: student, teacher (B, D); returns (B,). No published numbers were compared.
    Paper: none; the regression of self-supervised embeddings that CompRess and SEED are compared with.
    Raises: ConfigError if the shapes differ.
    """

    name = "embedding_l2"
    paper = "the squared distance of unit vectors"
    connector = "linear"
    ignores = ("scale of each sample", "swapped sides")
    task_loss_weight = 0.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_vectors(self, student, teacher)
        require_same_shape(self, student, teacher)
        return (F.normalize(student, dim=1) - F.normalize(teacher, dim=1)).square().sum(1)


class EmbeddingSmoothL1(Relation):
    r"""Match the teacher's embedding, standardised over its components, by the smooth L1 distance.

    L = mean_d h(s_d − t_d), h(x) = x²/(2β) for |x| < β, |x| − β/2 for others; t has mean 0 and deviation 1 over d.

    Shapes: student, teacher (B, D); returns (B,). The student's side is the connector's output as it is.
    No published numbers were compared.
    Paper: Wei, Hu, Xie, Zhang, Cao, Bao, Chen, Guo. 2022. arXiv:2205.14141 (feature distillation), β = 2.
    Raises: ConfigError if beta isn't above 0, or the shapes differ.
    """

    name = "embedding_smooth_l1"
    paper = "Wei, Hu, Xie, Zhang, Cao, Bao, Chen, Guo. 2022. arXiv:2205.14141"
    connector = "linear"
    zero_at_equal = False
    task_loss_weight = 0.0

    beta: Temperature = 2.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_vectors(self, student, teacher)
        require_same_shape(self, student, teacher)
        targets = F.layer_norm(teacher, teacher.shape[1:])
        return F.smooth_l1_loss(student, targets, beta=self.beta, reduction="none").mean(1)
