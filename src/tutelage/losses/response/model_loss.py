"""The losses that a model computes itself, such as a detector's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import ConfigError, unknown
from tutelage.losses.base import Response


class ModelLoss(Response):
    r"""The student's own loss of that name, or the sum of all its own losses.

    A model with losses of its own has `loss_names`, takes the ground truth in training, as `objects=`, and returns
    `{"losses": {name: scalar}}` beside its response: torchvision's and Hugging Face's detectors do so here. In a method
    without a loss name, each of them becomes a term of its own, called after it and weighed alike.

    L = L_loss of the model, or Σ_n L_n over its own losses.

    loss: the name, such as "classification"; empty: all of them.
    Shapes: student (B, …), whose numbers aren't used; student_losses: scalars by name. Returns a scalar.
    Paper: none; the losses are those of the model's own paper. No published numbers were compared.
    Raises: ConfigError if the model has no such loss.
    """

    name = "model_loss"
    paper = "none: the losses are the model's own"
    needs_teacher = False
    maskable = False
    zero_at_equal = False
    class_dim = None
    response_kinds = ("detections",)

    loss: str = ""

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        losses = {"classification": torch.tensor(0.7), "bbox_regression": torch.tensor(0.2)}
        return torch.randn(6, 3, 20), torch.randn(6, 3, 20), {"student_losses": losses}

    def forward(
        self, student: Tensor, teacher: Tensor | None = None, *, student_losses: Mapping[str, Tensor]
    ) -> Tensor:
        if self.loss:
            self.refuse_unknown(list(student_losses))
            return student_losses[self.loss]
        return torch.stack(list(student_losses.values())).sum()

    def refuse_unknown(self, names: Sequence[str]) -> None:
        """Refuse a name that isn't among the model's losses.

        Raises: ConfigError.
        """
        if self.loss and self.loss not in names:
            raise ConfigError(unknown("loss of the student's own", self.loss, names))
