"""Xie, Luong, Hovy, Le: pseudo-labels for a student under noise."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response, require_same_shape
from tutelage.utils.options import FractionBelowOne, Temperature


class NoisyStudent(Response):
    r"""Match the previous generation's pseudo-labels of unlabelled data.

    L = −Σ_c softmax(t/T)_c · log softmax(s)_c; with `hard` the target is the teacher's class, with label smoothing ε.

    Shapes: student (B, C, …) logits under noise, teacher (B, C, …) logits without noise, or stored probabilities
    (`probabilities=True`); returns (B, …). The student isn't softened.
    Paper: Xie, Luong, Hovy, Le. CVPR 2020. arXiv:1911.04252, section 2. The authors' code weighs it by the number
    of unlabelled images per labelled one.
    Raises: ConfigError if the temperature isn't above 0 or the smoothing not in [0, 1), or the two differ in shape.
    """

    name = "noisy_student"
    paper = "Xie, Luong, Hovy, Le. CVPR 2020. arXiv:1911.04252"
    zero_at_equal = False
    ignores = ("shift of logits",)

    temperature: Temperature = 1.0
    hard: bool = False
    smoothing: FractionBelowOne = 0.1
    probabilities: bool = False

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        if self.hard:
            return F.cross_entropy(student, teacher.argmax(1), reduction="none", label_smoothing=self.smoothing)
        t = teacher.log() if self.probabilities else teacher
        return F.cross_entropy(student, (t / self.temperature).softmax(1), reduction="none")
