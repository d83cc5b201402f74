"""Zhang, Lan, Dai, Zeng, Bai, Chang, Wei: elements weighted by their uncertainty."""

from __future__ import annotations

from torch import Tensor, nn

from tutelage.losses.base import Feature, require_same_shape, require_vectors
from tutelage.losses.functional.divergence import log_plus
from tutelage.nn.blocks import BatchNorm
from tutelage.utils.options import FractionAboveZero


class PAD(Feature):
    r"""Match embeddings, each element weighted by the student's certainty of it.

    L = (s − t)²/(σ² + ε) + log σ²,  log σ² = BN(W·s), learned, one value per element.

    Shapes: student (the connector's output) and teacher of equal shape, (B, D); returns (B, D), which may be negative.
    Initially log σ² is 0 on average over the batch.
    Paper: Zhang, Lan, Dai, Zeng, Bai, Chang, Wei. Prime-aware adaptive distillation. ECCV 2020. arXiv:2008.01458, with
    the auxiliary branch and the ε of torchdistill; as there, and in the authors' code, a mean over elements.
    Raises: ConfigError if eps isn't above 0, or the two differ in shape.
    """

    name = "pad"
    paper = "Zhang, Lan, Dai, Zeng, Bai, Chang, Wei. ECCV 2020. arXiv:2008.01458"
    compares = "embedding"
    feature_format = "vector"
    connector = "linear"

    eps: FractionAboveZero = 1e-6

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        width = student.shape[1]
        self.log_variance = nn.Sequential(nn.Linear(width, width), BatchNorm(width)).to(student)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_vectors(self, student, teacher)
        require_same_shape(self, student, teacher)
        log_variance = self.log_variance(student)
        return (student - teacher).pow(2) * (-log_plus(log_variance, self.eps)).exp() + log_variance
