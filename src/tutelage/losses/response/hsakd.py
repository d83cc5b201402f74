"""Yang, An, Cai, Xu: joint prediction of class and transformation, at every stage."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import Response, require_equal_counts, require_same_shape
from tutelage.losses.functional.divergence import softened_kl
from tutelage.utils.options import Temperature


class HSAKD(Response):
    r"""Match the final logits, and at each stage an auxiliary classifier's prediction of class and transformation.

    L = T²·KL(softmax(t/T) ‖ softmax(s/T)) + Σ_l T²·KL(softmax(q_l^t/T) ‖ softmax(q_l^s/T)): the parts "final" and
    "stages"; q_l: the logits of stage l's auxiliary classifier over the M·C joint classes of `joint_labels`.

    Shapes: student, teacher: lists [final logits (B·M, C), q_1 (B·M, M·C), …, q_L], of all M versions of the images (M
    = 4: rotations by 0°, 90°, 180°, 270°); each part is (B·M,).
    Paper: Yang, An, Cai, Xu. IJCAI 2021. arXiv:2107.13715, in addition to the cross-entropy of the unrotated images;
    the teacher's auxiliary classifiers are trained first, by cross-entropy with the joint labels.
    Raises: ConfigError if the temperature isn't above 0, the lists don't pair, or shapes differ.
    """

    name = "hsakd"
    paper = "Yang, An, Cai, Xu. IJCAI 2021. arXiv:2107.13715"
    only_for = "rotated copies of each image"
    list_inputs = ("student", "teacher")
    ignores = ("shift of logits",)

    temperature: Temperature = 3.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        """Final logits and two auxiliary classifiers' logits."""
        student, teacher = ([torch.randn(6, classes) for classes in (3, 12, 12)] for _ in range(2))
        return student, teacher, {}

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> dict[str, Tensor]:
        require_equal_counts(self, student, teacher)
        for s, t in zip(student, teacher, strict=True):
            require_same_shape(self, s, t)
        final, *stages = (softened_kl(s, t, self.temperature) for s, t in zip(student, teacher, strict=True))
        return {"final": final, **({"stages": torch.stack(stages).sum(0)} if stages else {})}


def joint_labels(targets: Tensor, versions: int = 4) -> Tensor:
    """Return the labels M·y + m of each image's M consecutive versions: (B,) class numbers → (B·M,)."""
    return (versions * targets[:, None] + torch.arange(versions, device=targets.device)).flatten()
