"""What a task is: the ground truth's loss, the metrics, and what in a raw output is the response."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.losses.base import Loss
from tutelage.structures import Batch


class Task(ABC):
    """Says what the students are for.

    `metric` names the figure that decides, in what `metrics` gives; `higher_is_better` says which way. `positions`: how
    many dimensions a response has beside samples and classes.
    """

    metric: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    positions: ClassVar[int] = 0

    @classmethod
    def from_data(cls, data: DataModule) -> Self:
        """The task that this data is for."""
        return cls()

    @abstractmethod
    def task_loss(self) -> Loss:
        """The loss of the ground truth."""

    @abstractmethod
    def metrics(self, classes: int, shared: bool = False) -> Any:
        """A torchmetrics.MetricCollection over (response, targets), kept on the device; has `confusion` (3, N).

        shared: each process sees a part, and the figures are of all.
        """

    def response(self, response: Tensor, batch: Batch) -> Tensor:
        """The response that losses compare, from what the model returned."""
        return response

    def answers(self, response: Tensor, classes: int) -> bool:
        """Whether a response is of so many classes."""
        return response.dim() == 2 + self.positions and response.shape[1] == classes

    def mask(self, batch: Batch) -> Tensor | None:
        """True where a position counts; None if all do."""
        return None
