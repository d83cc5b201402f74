"""The moving average of the student as its teacher."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tutelage.nn.model_profile import ModelProfile
from tutelage.structures import Batch, Outputs
from tutelage.tasks.base import Task
from tutelage.teachers.base import Teacher, TeacherContext
from tutelage.teachers.frozen import Frozen
from tutelage.utils.options import FractionBelowOne


class MovingAverage(Teacher):
    """The exponential moving average of the student: a ← decay · a + (1 − decay) · student, after each step.

    It begins as the student after the first step. Buffers are averaged likewise.

    Args:
        student: the network that is averaged.
        task: the task of the run.
        decay: the decay of the average.
    Paper: Tarvainen, Valpola. NeurIPS 2017. arXiv:1703.01780 (mean teacher); decay 0.99 as there in early training.
    Raises: ConfigError if the decay isn't in [0, 1).

    Example:
        >>> from tutelage import Classification, MovingAverage, models
        >>> student = models.create("cnn4", classes=10, channels=1).model
        >>> teacher = MovingAverage(student, Classification(), decay=0.9)
        >>> teacher.after_step()  # the average moves towards the student
    """

    name = "moving_average"
    follows_student = True

    def __init__(self, student: nn.Module, task: Task, decay: FractionBelowOne = 0.99) -> None:
        super().__init__()
        self.source = [student]  # in a list, so that it isn't a submodule
        average = get_ema_multi_avg_fn(decay)
        self.average = AveragedModel(copy.deepcopy(student), multi_avg_fn=average, use_buffers=True)
        self.teacher = Frozen(self.average.module, task)

    @classmethod
    def from_context(cls, context: TeacherContext, decay: FractionBelowOne = 0.99) -> MovingAverage:
        """Return the moving average of the phase's student."""
        assert context.student is not None
        return cls(context.student, context.task, decay)

    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """Return the average's outputs."""
        return self.teacher(batch, layers)

    def profile(self, batch: Batch) -> ModelProfile:
        """Return the average's profile."""
        return self.teacher.profile(batch)

    @torch.no_grad()
    def after_step(self) -> None:
        """Update the average with the student's weights."""
        self.average.update_parameters(self.source[0])

    def checkpoint_state(self) -> dict[str, Any]:
        """Return the average's state."""
        return self.average.state_dict()

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Restore the average's state."""
        self.average.load_state_dict(state)
