"""Cross-entropy with the labels of classification."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Response
from tutelage.utils.options import ClassWeights, FractionBelowOne


class CE(Response):
    r"""Cross-entropy with the true classes; it needs no teacher.

    L = −log softmax(s)[y], with label smoothing ε: −Σ_c ((1−ε)·1[c=y] + ε/C) · log softmax(s)_c.

    Shapes: student (B, C, …) logits, targets (B, …) int64; returns (B, …). With class_weights, one number per class,
    class c's summand is multiplied by the c-th; their mean isn't divided by the weights of its samples.
    Raises: ConfigError if the smoothing isn't in [0, 1), a weight is below 0, or there isn't one for each class.
    Paper: label smoothing by Szegedy, Vanhoucke, Ioffe, Shlens, Wojna. CVPR 2016. arXiv:1512.00567.
    """

    paper = "Szegedy, Vanhoucke, Ioffe, Shlens, Wojna. CVPR 2016. arXiv:1512.00567 (label smoothing)"
    by_position = True
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)
    task_loss_weight = 0.0

    smoothing: FractionBelowOne = 0.0
    class_weights: ClassWeights = ()

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, targets: Tensor) -> Tensor:
        weight = student.new_tensor(self.class_weights) if len(self.class_weights) else None
        if weight is not None and len(weight) != student.shape[1]:
            raise ConfigError(f"CE: {len(weight)} class_weights for {student.shape[1]} classes: give one each.")
        return F.cross_entropy(student, targets, weight, reduction="none", label_smoothing=self.smoothing)
