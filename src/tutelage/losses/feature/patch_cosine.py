"""The cosine distance of two backbones' patches."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Feature, require_same_shape


class PatchCosine(Feature):
    r"""Match the direction of the teacher's feature at every position of its grid.

    L = 1 − ⟨s, t⟩ over channels, s and t unit vectors; s is the student's map through the term's connector, which
    brings it to the teacher's channels and grid.

    Shapes: student, teacher (B, C, H, W), tokens as maps without prefix tokens; returns (B, H, W).
    No published numbers were compared.
    Paper: none; a usual loss for the patches of foundation models.
    Raises: ConfigError if the shapes differ.
    """

    name = "patch_cosine"
    paper = "the cosine distance"
    compares = "last"
    connector = "conv1x1"
    ignores = ("scale of each sample", "swapped sides")
    task_loss_weight = 0.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        return 1 - (F.normalize(student, dim=1) * F.normalize(teacher, dim=1)).sum(1)
