"""Sun, Ohyama: cross-attention from the student's map to the teacher's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.base import Feature, require_same_shape
from tutelage.nn.blocks import conv_bn
from tutelage.nn.maps import conv, dimensions_of, max_pool
from tutelage.utils.options import Positive


class CanKD(Feature):
    r"""Match normalised maps, after each position of the student's has attended to all of the teacher's.

    A = θ(s)ᵀ·φ(t) / M over the M positions of φ(t);  z = s + BN(W·(A·g(t)));
    L = ½·(norm(z) − norm(t))², norm: mean 0 and variance 1 of each channel of each sample.

    ratio: θ, φ and g are 1×1 convolutions to C / ratio channels; φ and g are then max-pooled 2×2. BN is initialised
    with scale 0, so that initially z = s.
    Shapes: student (the connector's output) and teacher of equal shape, (B, C, H, W); returns the same shape.
    Paper: Sun, Ohyama. WACV 2026. arXiv:2511.21503; weight 10 as the authors use for segmentation (5 for
    detectors). W has torch's default initialisation and no bias, which BN would remove.
    Raises: ConfigError if the ratio isn't above 0, or the two differ in shape.
    """

    name = "cankd"
    paper = "Sun, Ohyama. WACV 2026. arXiv:2511.21503"
    compares = "last"
    connector = "conv1x1"
    default_weight = 10.0

    ratio: Positive = 2.0

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        dimensions, channels = dimensions_of(teacher), teacher.shape[1]
        inner = max(int(channels / self.ratio), 1)
        self.query, self.key, self.value = (conv(dimensions, channels, inner).to(student) for _ in range(3))
        self.out = conv_bn(dimensions, inner, channels).to(student)
        for parameter in self.out[1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        return (normalised(student + self.attend(student, teacher)) - normalised(teacher)).pow(2) / 2

    def attend(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the attention output at each position of the student's map, (B, C, H, W)."""
        window = [min(2, side) for side in teacher.shape[2:]]
        key, value = (max_pool(project(teacher), window).flatten(2) for project in (self.key, self.value))
        attention = self.query(student).flatten(2).mT @ key / key.shape[2]
        return self.out((value @ attention.mT).unflatten(2, student.shape[2:]))


def normalised(x: Tensor) -> Tensor:
    """Apply instance normalisation to (B, C, H, W)."""
    return F.layer_norm(x, x.shape[2:])
