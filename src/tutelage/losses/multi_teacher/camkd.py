"""Zhang, Chen, Wang: teachers weighted by how correct they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.losses.base import Feature, Response, require_equal_counts
from tutelage.losses.functional.distances import squared_distance
from tutelage.losses.functional.stacked_logits import ModelLogits, confidences, softened_kls, stack_logits
from tutelage.utils.options import Temperature


class CAMKD(Response):
    r"""Match several teachers' softened class probabilities, weighted for each sample by their confidence in the label.

    w_m = (1 − softmax_m CE(t_m, y)) / (M − 1), which sums to 1;
    L = w_m · T² · KL(softmax(t_m/T) ‖ softmax(s/T)), one value per teacher m and position.

    Shapes: student (B, C, …) logits; teacher M of them, stacked (M, B, C, …) or a list; targets (B, …) int64; returns
    (M, B, …), whose mean divides by M once more, as the authors' code does.
    Paper: Zhang, Chen, Wang. ICASSP 2022. arXiv:2201.00007.
    Raises: ConfigError if the temperature isn't above 0, or shapes differ.
    """

    paper = "Zhang, Chen, Wang. ICASSP 2022. arXiv:2201.00007"
    list_inputs = ("teacher",)
    ignores = ("shift of logits",)

    temperature: Temperature = 4.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        teachers = [torch.randn(6, 5) for _ in range(3)]
        return torch.randn(6, 5), teachers, {"targets": torch.randint(5, (6,))}

    def forward(self, student: Tensor, teacher: ModelLogits, *, targets: Tensor) -> Tensor:
        teachers = stack_logits(teacher)
        return confidences(teachers, targets) * softened_kls(student, teachers, self.temperature)


class CAMKDFeature(Feature):
    r"""Match several teachers' features, weighted for each sample by their heads' loss on the student's features.

    w_m = (1 − softmax_m CE(head_m(s_m), y)) / (M − 1), with its gradient;
    L = w_m · mean (s_m − t_m)², one value per teacher m and sample.

    Shapes: student a list of M features (B, C_m, …), after connectors; teacher the M teachers' features of the same
    shapes; teacher_head_logits M logits (B, K), stacked or a list, of the teachers' classifiers on the student's
    features; targets (B,) int64. Returns (M, B).
    Paper: Zhang, Chen, Wang. ICASSP 2022. arXiv:2201.00007; the authors' weight is 50.
    Raises: ConfigError if the lists don't pair.
    """

    paper = "Zhang, Chen, Wang. ICASSP 2022. arXiv:2201.00007"
    compares = "review"
    list_inputs = ("teacher",)
    connector = "conv1x1"
    default_weight = 50.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        features = [[torch.randn(6, c, 4, 4) for c in (2, 3, 4)] for _ in range(2)]
        inputs = {"teacher_head_logits": [torch.randn(6, 5) for _ in range(3)], "targets": torch.randint(5, (6,))}
        return features[0], features[1], inputs

    def forward(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor], *, teacher_head_logits: ModelLogits, targets: Tensor
    ) -> Tensor:
        require_equal_counts(self, list(student), list(teacher))
        errors = [squared_distance(s, t) / s[0].numel() for s, t in zip(student, teacher, strict=True)]
        return confidences(stack_logits(teacher_head_logits), targets) * torch.stack(errors)
