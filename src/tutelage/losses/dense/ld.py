"""Zheng, Ye, Wang, Ren, Zuo, Hou, Cheng: localisation distillation of the sides of a box."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss, require_same_shape
from tutelage.losses.functional.divergence import softened_kl
from tutelage.utils.options import Temperature


class LD(Loss):
    r"""Match the softened distribution of each side of a box over the bins of its offset.

    L = w · T² · KL(softmax(t/T) ‖ softmax(s/T)) over the bins of a side.

    Shapes: student, teacher (N, 4·bins) logits, N boxes; weight (N,), 1 if the batch has none. Returns (N, 4). In a
    run `part: box_distribution` of detectors such as fcosdist-resnet18-64 gives (B, 4·bins, N), a box at each place:
    the weight is then the teacher's largest class probability there (sigmoid), divided by its mean over the batch, and
    the values are (B·N, 4).
    Paper: Zheng, Ye, Wang, Ren, Zuo, Hou, Cheng. CVPR 2022. arXiv:2102.12252, with T = 10. The authors' code
    averages over the bins where the paper sums, with a weight of 0.25.
    Raises: ConfigError if the temperature isn't above 0, the two differ in shape, or the logits aren't for four sides.
    """

    paper = "Zheng, Ye, Wang, Ren, Zuo, Hou, Cheng. CVPR 2022. arXiv:2102.12252"
    ignores = ("shift of logits",)
    response_kinds = ("detections",)

    temperature: Temperature = 10.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        return torch.randn(6, 4 * 5), torch.randn(6, 4 * 5), {}

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        weight: Tensor | None = None,
        teacher_response: Tensor | None = None,
    ) -> Tensor:
        require_same_shape(self, student, teacher)
        if student.dim() == 3:
            student, teacher = (x.mT.flatten(0, 1) for x in (student, teacher))
            if teacher_response is not None and teacher_response[:, 0].numel() == len(student):
                weight = teacher_response.sigmoid().amax(1).flatten()
                weight = weight / weight.mean()
        if student.dim() != 2 or student.shape[1] % 4:
            raise ConfigError(f"LD: logits {tuple(student.shape)}, expected (boxes, 4·bins).")
        s, t = (x.unflatten(1, (4, -1)).flatten(0, 1) for x in (student, teacher))
        divergence = softened_kl(s, t, self.temperature).unflatten(0, (-1, 4))
        return divergence if weight is None else divergence * weight[:, None]
