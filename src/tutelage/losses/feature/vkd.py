"""Miles, Elezi, Deng: an orthogonal projection."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from tutelage.losses.base import Feature, require_vectors


class VKD(Feature):
    r"""Match the standardised embedding of the teacher through an orthogonal projection P, which keeps all angles.

    L = huber(P·s − (t − mean t) / std t), mean and deviation over the features of a sample, one value per
    element; PᵀP = 1, or PPᵀ = 1 if the teacher's embedding is the narrower.

    Shapes: student (B, D), teacher (B, D'); returns (B, D').
    Paper: Miles, Elezi, Deng. V_kD: Improving knowledge distillation using orthogonal projections. CVPR 2024.
    arXiv:2403.06213, with the normalisation for discriminative tasks (for generative ones it whitens). The projection
    stays orthogonal by torch's parametrisation, a matrix exponential.
    """

    name = "vkd"
    paper = "Miles, Elezi, Deng. CVPR 2024. arXiv:2403.06213"
    compares = "embedding"
    feature_format = "vector"
    zero_at_equal = False

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        linear = nn.Linear(student.shape[1], teacher.shape[1], bias=False)
        self.project = orthogonal(linear, orthogonal_map="matrix_exp", use_trivialization=False).to(student)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_vectors(self, student, teacher)
        return F.smooth_l1_loss(self.project(student), F.layer_norm(teacher, teacher.shape[1:]), reduction="none")
