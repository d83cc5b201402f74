"""The inputs of a run: its configuration, the objects passed in place of names, its data, its task and its devices."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from torch import nn

from tutelage.config.named_parts import name_of, options_of
from tutelage.config.schema import Config, keys_with_mark
from tutelage.data.data_module import DataModule
from tutelage.data.from_datasets import DatasetSource
from tutelage.data.input_views import same_view, view_inputs
from tutelage.data.preparation import height_and_width, select_classes
from tutelage.errors import ConfigError
from tutelage.objective.spec import Method
from tutelage.runs.data import load_data
from tutelage.runs.label_free import without_task_loss
from tutelage.tasks.base import Task
from tutelage.training.callbacks import Callback
from tutelage.training.events import Message
from tutelage.training.fabric import make_fabric
from tutelage.utils import registry
from tutelage.utils.key_types import OF_DATA, Size

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@dataclass(frozen=True)
class Provided:
    """Objects that were passed in Python in place of names: networks, data, its streams, terms; and callbacks.

    loaded: the data that runs of this process loaded by name, if they share them (`load_data`).
    """

    teacher: nn.Module | None = None
    student: nn.Module | None = None
    data: DataModule | DatasetSource | None = None
    streams: Mapping[str, DataModule | DatasetSource] = field(default_factory=dict)
    method: Method | None = None
    callbacks: tuple[Callback, ...] = ()
    loaded: MutableMapping[str, DataModule] | None = None


@dataclass(frozen=True)
class RunInputs:
    """A run's configuration, the objects passed for it, its data, task and devices; `for_column` narrows the data."""

    config: Config
    provided: Provided
    data: DataModule
    task: Task
    fabric: Fabric

    @classmethod
    def load(cls, config: Config, provided: Provided) -> RunInputs:
        """Load the data that the configuration names, find its task and start the devices' processes.

        Raises: ConfigError if the data is for another task than the configuration's.
        """
        data = load_data(config, provided.data, provided.streams, provided.loaded)
        for message in data.notes:
            notify(provided, message)
        task_name = name_of(config.task)
        if task_name not in ("auto", data.task) and data.target != "none":
            raise ConfigError(f"task={task_name}, but {data.name} is data for {data.task}; leave task out.")
        fabric = make_fabric(config)
        if config.devices > 1:
            fabric.launch()
        task = task_of(data, config)
        adapted = without_task_loss(config, task, provided.teacher is not None)
        if adapted.method != config.method:
            notify(
                provided, f"method={adapted.method}: kd, the usual default, compares classes, and {data.name} has none."
            )
        return cls(adapted, provided, data, task, fabric)

    def note(self, message: str, kind: Literal["note", "warning"] = "note") -> None:
        """Send a message to the callbacks."""
        notify(self.provided, message, kind)

    def data_with(self, config: Config) -> DataModule:
        """Return the data with the classes of a phase's configuration."""
        same = config.classes is None or config.classes == self.config.classes
        return self.data if same else select_classes(self.data, config.classes or [])

    def for_view(self, inputs: str | Sequence[str] | None, size: Size | None = None) -> RunInputs:
        """Return the same inputs with the data as a model sees it that gets these inputs, at this size.

        Raises: ConfigError for an unknown input.
        """
        data = view_inputs(self.data, inputs, None if size is None else height_and_width(size))
        return self if same_view(data, self.data) else replace(self, data=data)

    def for_stage(self, config: Config) -> RunInputs:
        """Return the inputs of a stage with this configuration, whose data and task may differ from the run's.

        Raises: ConfigError or DataError, as for a run's data.
        """
        changed = [key for key in keys_with_mark(OF_DATA) if getattr(config, key) != getattr(self.config, key)]
        if not changed:
            return self
        provided = self.provided.data if config.data == self.config.data else None
        data = load_data(config, provided, self.provided.streams, self.provided.loaded)
        for message in data.notes:
            self.note(message)
        return replace(self, data=data, task=task_of(data, config))

    def for_column(self, column: str | None) -> RunInputs:
        """Return the same inputs for one label column of the data; None for all columns."""
        if column is None or column == self.data.column_name:
            return self
        data = self.data.column(column)
        return replace(self, data=data, task=task_of(data, self.config))


def task_of(data: DataModule, config: Config) -> Task:
    """Return the task that the data names, made for that data with the configuration's options.

    Raises: ConfigError if no task of that name is known, or it has no such metric or weights.
    """
    task: Task = registry.find_entry("tasks", data.task).load().from_data(data.labelled, **options_of(config.task))
    if config.class_weights is not None:
        task = task.weighted(config.class_weights, data.labelled)
    return task if config.metric == "auto" else task.decided_by(config.metric)


def notify(provided: Provided, message: str, kind: Literal["note", "warning"] = "note") -> None:
    """Send a message to the callbacks that were passed."""
    for callback in provided.callbacks:
        callback.on_event(Message(message, kind))
