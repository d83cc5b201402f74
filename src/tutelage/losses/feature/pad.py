"""Zhang, Lan, Dai, Zeng, Bai, Chang, Wei: less weight for what is uncertain."""

from __future__ import annotations

from torch import Tensor, nn

from tutelage.declared import positive
from tutelage.losses.base import Feature, same_shape
from tutelage.losses.maps import BatchNorm


class PAD(Feature):
    r"""Match embeddings, each element by as much as the student is sure of it.

    L = (s − t)²/σ² + log σ²,  σ² = softplus(BN(W·s)) + ε, learned, one value per element.

    Shapes: student (what the connector gives) and teacher alike, (B, D); returns (B, D); it may be negative.
    Paper: Zhang, Lan, Dai, Zeng, Bai, Chang, Wei. Prime-aware adaptive distillation. ECCV 2020. arXiv:2008.01458; its
    auxiliary branch for the variance is a linear layer here, kept positive as in VID. No published numbers were
    compared.
    Raises: ConfigError if eps isn't above 0, or the two differ in shape.
    """

    name = "pad"
    paper = "Zhang, Lan, Dai, Zeng, Bai, Chang, Wei. ECCV 2020. arXiv:2008.01458"
    sees = "embedding"
    form = "vector"
    connector = "linear"
    zero_at_equal = False

    eps: float = 1e-5

    def __post_init__(self) -> None:
        positive(self, "eps")

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        width = student.shape[1]
        self.uncertainty = nn.Sequential(nn.Linear(width, width), BatchNorm(width), nn.Softplus()).to(student)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        same_shape(self, student, teacher)
        variance = self.uncertainty(student) + self.eps
        return (student - teacher).pow(2) / variance + variance.log()
