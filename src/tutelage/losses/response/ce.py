"""Cross-entropy with the labels of classification."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Response
from tutelage.utils.options import FractionBelowOne


class CE(Response):
    r"""Cross-entropy with the true classes; it needs no teacher.

    L = −log softmax(s)[y], with label smoothing ε: −Σ_c ((1−ε)·1[c=y] + ε/C) · log softmax(s)_c.

    Shapes: student (B, C, …) logits, targets (B, …) int64; returns (B, …).
    Raises: ConfigError if the smoothing isn't in [0, 1).
    Paper: label smoothing by Szegedy, Vanhoucke, Ioffe, Shlens, Wojna. CVPR 2016. arXiv:1512.00567.
    """

    paper = "Szegedy, Vanhoucke, Ioffe, Shlens, Wojna. CVPR 2016. arXiv:1512.00567 (label smoothing)"
    needs_teacher = False
    zero_at_equal = False
    ignores = ("shift of logits",)
    task_loss_weight = 0.0

    smoothing: FractionBelowOne = 0.0

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, targets: Tensor) -> Tensor:
        return F.cross_entropy(student, targets, reduction="none", label_smoothing=self.smoothing)
