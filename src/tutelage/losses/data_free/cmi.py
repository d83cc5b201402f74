"""Fang, Song, Wang, Shen, Wang, Song: contrastive model inversion."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Loss, Response, require_equal_counts, require_same_shape
from tutelage.losses.functional.divergence import softened_kl
from tutelage.utils.options import Temperature


class CMIContrast(Loss):
    r"""Optimise images to differ: contrast a view of each with views of all images, current and earlier.

    u_i, v_j unit vectors of a local view of image i and a global one of image j;
    L_i = −log softmax_j(⟨u_i, sg v_j⟩/τ)_i over all images: the parts "batch" and "bank".

    Shapes: student, [batch's u (B, D), bank's u (N, D)] or the first alone; teacher, a list of v of the same length;
    unit vectors, from a head that is trained jointly. The parts (B,) and (N,) are separate, so that a large bank
    doesn't dilute the gradient.
    Paper: Fang, Song, Wang, Shen, Wang, Song. Contrastive model inversion for data-free knowledge distillation. IJCAI
    2021. arXiv:2105.08584. The target is a constant as in the authors' code. The images' other
    losses are DeepInversionBN, the cross-entropy of the teacher with a chosen class, and CMIAdversarial.
    Raises: ConfigError if the temperature isn't above 0, or the lists don't pair.
    """

    name = "cmi_contrast"
    paper = "Fang, Song, Wang, Shen, Wang, Song. IJCAI 2021. arXiv:2105.08584"
    only_for = "generated images"
    list_inputs = ("student", "teacher")
    zero_at_equal = False
    default_weight = 0.8
    task_loss_weight = 0.0

    temperature: Temperature = 0.1

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        sides = ([F.normalize(torch.randn(n, 4), dim=1) for n in (6, 6)] for _ in range(2))
        return next(sides), next(sides), {}

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> dict[str, Tensor]:
        require_equal_counts(self, student, teacher)
        similarities = torch.cat(student) @ torch.cat(teacher).detach().T / self.temperature
        positives = torch.arange(len(similarities), device=similarities.device)
        values = F.cross_entropy(similarities, positives, reduction="none")
        return dict(zip(("batch", "bank"), values.split([len(x) for x in student]), strict=False))


class CMIAdversarial(Response):
    r"""The divergence of student and teacher on images for which they predict the same class.

    L = 1[argmax s = argmax t] · T² · KL(softmax(t/T) ‖ softmax(s/T)), one value per position. The generator maximises
    it (weight −1, for instance), through the teacher too: it seeks the student's weaknesses on its side of the
    boundary.

    Shapes: student, teacher (B, C, …) logits of generated images; returns (B, …).
    Paper: Fang, Song, Wang, Shen, Wang, Song. IJCAI 2021. arXiv:2105.08584, with T = 1 and a weight of 0.5; after Choi,
    Choi, El-Khamy, Lee. CVPR-W 2020. arXiv:2005.04136.
    Raises: ConfigError if the temperature isn't above 0, or the shapes differ.
    """

    name = "cmi_adversarial"
    paper = "Fang, Song, Wang, Shen, Wang, Song. IJCAI 2021. arXiv:2105.08584"
    only_for = "generated images"
    ignores = ("shift of logits",)
    default_weight = 0.5
    task_loss_weight = 0.0

    temperature: Temperature = 1.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        logits = torch.randn(6, 5)
        return logits, logits * 1.5, {}

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        agree = student.argmax(1) == teacher.argmax(1)
        return softened_kl(student, teacher, self.temperature) * agree
