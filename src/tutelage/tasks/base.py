"""The base class of tasks: the task loss, the metrics, and the response within a model's raw output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.losses.base import Loss
from tutelage.structures import Batch


class Task(ABC):
    """Abstract: what the students are trained for.

    Attributes:
        metric: the name of the decisive metric among those of `metrics`.
        higher_is_better: True if a higher value of it is better.
        positions: the number of dimensions of a response other than samples and classes.
    """

    metric: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    positions: ClassVar[int] = 0

    @classmethod
    def from_data(cls, data: DataModule) -> Self:
        """Build the task for this data."""
        return cls()

    @abstractmethod
    def task_loss(self) -> Loss:
        """Return the supervised loss of the task."""

    @abstractmethod
    def metrics(self, classes: int, shared: bool = False) -> Any:
        """Return a torchmetrics.MetricCollection over (response, targets), kept on the device; has `confusion` (3, N).

        Args:
            classes: the number of classes.
            shared: True if each process evaluates a part of the data, and the metrics are those of all parts.
        """

    def response(self, response: Tensor, batch: Batch) -> Tensor:
        """Return the response that losses compare, from the model's response."""
        return response

    def fits(self, response: Tensor, classes: int) -> bool:
        """Return True if the response has this number of classes, and the task's dimensions."""
        return response.dim() == 2 + self.positions and response.shape[1] == classes

    def mask(self, batch: Batch) -> Tensor | None:
        """Return a mask that is True at the positions that count, or None if all do."""
        return None
