"""The base class of tasks: the task loss, the metrics, and the response within a model's raw output."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError, unknown
from tutelage.losses.base import Loss
from tutelage.nn.feature_extractor import respond
from tutelage.report.components import Section
from tutelage.report.run_record import RunRecord
from tutelage.structures import Batch
from tutelage.tasks.sample_scores import SampleScores
from tutelage.utils.finding import Finding

Sections = Mapping[str, Callable[[RunRecord], Section]]
"""Builders of sections of the report, by title."""


class Task(ABC):
    """Abstract: what the students are trained for.

    Attributes:
        metric: the name of the decisive metric among those of `metrics`.
        higher_is_better: True if a higher value of it is better.
        other_metrics: the other metrics that may decide (`metric=`), each with whether a higher value is better.
        positions: the number of dimensions of a response other than samples and outputs.
        response_kind: what a response's numbers are: "classes" (one logit per class, of which one is right), "labels"
            (independent logits), "values" (estimates), "scores" (one per document) or "embedding"; a loss of responses
            is for some of these (`Loss.response_kinds`).
        target: the kind of targets (`DataModule.target`) of any data that it is for, also of data that names another
            task; empty if it is only for data that names it.
        without_labels: the name of the task that takes this one's place for data without labels; empty: none does.
        default_method: the method if the configuration has the default's; empty if that suits the task.
        augment: the augmentation if the configuration sets none; None: the data's.
        usage: the line of Python, for the report, that prints `outputs` of the loaded `model`.
    """

    metric: str
    higher_is_better: bool = True
    other_metrics: ClassVar[Mapping[str, bool]] = {}
    positions: ClassVar[int] = 0
    response_kind: ClassVar[str] = "classes"
    target: ClassVar[str] = ""
    without_labels: ClassVar[str] = ""
    default_method: ClassVar[str] = ""
    augment: ClassVar[str | None] = None
    usage: ClassVar[str] = "print(outputs.shape)"

    @classmethod
    def from_data(cls, data: DataModule) -> Self:
        """Build the task for this data; further parameters are options: `task={name: …, …options}`."""
        return cls()

    @classmethod
    def adapt_data(cls, data: DataModule, options: Mapping[str, Any]) -> DataModule:
        """Return the data as this task reads it, before it is built with these options: here unchanged."""
        return data

    def decided_by(self, metric: str) -> Self:
        """Return the same task with another decisive metric.

        Raises: ConfigError if it isn't among those that may decide.
        """
        choices = {self.metric: self.higher_is_better, **self.other_metrics}
        if metric not in choices:
            raise ConfigError(unknown("metric", metric, choices))
        task = copy.copy(self)
        task.metric, task.higher_is_better = metric, choices[metric]
        return task

    def weighted(self, way: str | Sequence[float], data: DataModule) -> Self:
        """Return the same task with weights of classes in its loss: "balanced", "effective", or the weights.

        Raises: ConfigError if the task has no classes to weigh, or the data aren't known without reading them.
        """
        raise ConfigError(f"class_weights={way}: {type(self).__name__} has no weights of classes: leave it out.")

    def outputs(self, data: DataModule) -> int:
        """Return the number of outputs that a network made by name gets: here one per class."""
        return len(data.classes)

    def describe_outputs(self, outputs: int) -> str:
        """Return the required outputs in words, for messages."""
        return f"{outputs} classes for each {'pixel' if self.positions else 'sample'}"

    @abstractmethod
    def task_loss(self) -> Loss | None:
        """Return the supervised loss of the task; None if only a teacher teaches."""

    def evaluation_loss(self) -> Loss | None:
        """Return the loss whose mean over a split is the metric `loss`: the task loss, unless that learns something."""
        return self.task_loss()

    @abstractmethod
    def metrics(self, outputs: int, shared: bool = False) -> Any:
        """Return a torchmetrics.MetricCollection over (response, targets), kept on the device.

        Its scalars are metrics; its other tensors are tables, such as a confusion matrix.

        Args:
            outputs: the number of outputs.
            shared: True if each process evaluates a part of the data, and the metrics are those of all parts.
        """

    def update(self, metrics: Any, response: Tensor, batch: Batch) -> None:
        """Add a batch to the metrics."""
        metrics.update(response, batch.targets)

    def infer(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return a network's raw response to a batch in evaluation: here that of one forward."""
        return respond(network, batch)

    def predictions(self, response: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the predictions for a batch's samples, as arrays (B, …) by name, to be stored; empty if none are."""
        return {}

    def measure(self, network: nn.Module, data: DataModule, split: str, batch_size: int) -> dict[str, float]:
        """Return the metrics of a split's evaluation that need more than its responses and targets."""
        return {}

    def write_files(self, folder: Path, network: nn.Module, data: DataModule) -> None:  # noqa: B027 (may stay empty)
        """Write the task's own files on a trained network into its phase's folder; here none."""

    def with_files(self, folder: Path) -> Self:
        """Return the task with the files that `write_files` left in a run's folder, to judge as in the run."""
        return self

    def response(self, response: Tensor, batch: Batch) -> Tensor:
        """Return the response that losses compare, from the model's response."""
        return response

    def fits(self, response: Tensor, outputs: int) -> bool:
        """Return True if the response has this number of outputs, and the task's dimensions."""
        return response.dim() == 2 + self.positions and response.shape[1] == outputs

    def mask(self, batch: Batch) -> Tensor | None:
        """Return a mask that is True at the positions that count, or None if all do."""
        return None

    def stream_mask(self, batch: Batch) -> Tensor | None:
        """Return the mask of a batch that may have several streams: all positions count of those without targets."""
        if not batch.streams:
            return self.mask(batch)
        parts = [batch.stream(name) for name in batch.streams]
        masks = [None if part.targets is None else self.mask(part) for part in parts]
        known = next((mask for mask in masks if mask is not None), None)
        if known is None:
            return None
        everywhere = [known.new_ones(len(part), *known.shape[1:]) for part in parts]
        return torch.cat([ones if mask is None else mask for mask, ones in zip(masks, everywhere, strict=True)])

    def check_data(self, data: DataModule) -> list[Finding]:
        """Check the data for the usual mistakes, for `tutelage check`."""
        return []

    def judge_teacher(
        self, values: Mapping[str, float], tables: Mapping[str, Tensor], data: DataModule
    ) -> list[Finding]:
        """Judge a trained teacher by its metrics on validation samples: is it better than chance?"""
        return []

    @classmethod
    def sample_scores(cls, metric: str, predictions: Mapping[str, Any]) -> SampleScores | None:
        """Return the samples' scores of which a metric is the mean; here the predictions with the metric's name.

        None if the metric isn't such a mean.

        Args:
            metric: the name of the metric.
            predictions: arrays (N, …) by name, as `predictions` returns them.
        """
        return SampleScores(predictions[metric]) if metric in predictions else None

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the task's own sections of the report, which stand between the training's and the costs."""
        return {}
