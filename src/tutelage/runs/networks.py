"""Networks by name, of run folders, and as earlier trainings of a run left them; and the data that they are for."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.parameter import UninitializedParameter

from tutelage import models
from tutelage.config import stages
from tutelage.models import serialization
from tutelage.training.callbacks import Callback
from tutelage.config.schema import Config
from tutelage.data.data_module import DataModule
from tutelage.data.from_datasets import Datasets
from tutelage.data.preparation import select_classes
from tutelage.data.scale import numbers
from tutelage.errors import ConfigError, ModelError, unknown
from tutelage.training.fabric import make_fabric
from tutelage.utils.key_types import Size, sides
from tutelage.runs.data import load_data
from tutelage.tasks.base import Task
from tutelage.tasks.classification import Classification
from tutelage.tasks.multi_task import MultiTask
from tutelage.tasks.segmentation import Segmentation
from tutelage.objective.spec import Method

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "segmentation": Segmentation,
    "multi_task": MultiTask,
}


@dataclass
class Provided:
    """What was given as an object instead of by name: networks, data, terms, further callbacks."""

    teacher: nn.Module | None = None
    student: nn.Module | None = None
    data: DataModule | Datasets | None = None
    method: Method | None = None
    callbacks: tuple[Callback, ...] = ()


@dataclass
class LoadedNetwork:
    """A network and what it wants of its images, and the classes that it knows; None: the data's own.

    known: whether mean and std are of pixels in [0, 1]; if not, it wants floats as its own data had them.
    untrained: which of its layers nobody has trained although it came trained, in words.
    """

    model: nn.Module
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    classes: tuple[str, ...] | None = None
    known: bool = True
    untrained: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.model, ScriptModule):
            raise ModelError("a scripted network can't be looked into: give the module that it was made from.")
        parameters = list(self.model.parameters())
        if not parameters or any(isinstance(p, UninitializedParameter) for p in parameters):
            what = "has no parameters" if not parameters else "has parameters without a shape (a lazy layer)"
            raise ModelError(
                f"{type(self.model).__name__} {what}: expected a network with weights"
                + (", called once on an example." if parameters else ".")
            )

    def with_normalisation_of(self, data: DataModule) -> DataModule:
        """The data, normalised as the network wants it; as it is if it comes normalised and nobody knows by what.

        Raises: ConfigError if nobody said how the data comes.
        """
        return data if self.mean is None or self.std is None else data.normalised_by(self.mean, self.std, self.known)


class NetworkLoader:
    """The networks of one run, as its configuration names them or as they were given, and its data."""

    def __init__(self, config: Config, given: Provided) -> None:
        self.config, self.given = config, given
        self.data = load_data(config, given.data)
        for note in self.data.notes:
            self.note(note)
        task = self.data.task if config.task == "auto" else config.task
        if task != self.data.task:
            raise ConfigError(f"task={config.task}, but {self.data.name} is data for {self.data.task}; leave task out.")
        self.task = TASKS[task].from_data(self.data)
        self.fabric = make_fabric(config)
        if config.devices > 1:
            self.fabric.launch()
        self.is_dry_run = False
        self.dry_run_term_states: dict[str, dict[str, Tensor]] = {}
        self.folder = Path()

    def note(self, message: str, kind: str = "note") -> None:
        """Say something to who watches."""
        for callback in self.given.callbacks:
            callback.note({"kind": kind, "message": message})

    def data_with(self, config: Config) -> DataModule:
        """The data of a phase: those of its classes."""
        same = config.classes is None or config.classes == self.config.classes
        return self.data if same else select_classes(self.data, config.classes or [])

    def for_column(self, column: str | None) -> Self:
        """The same for one label column of the data."""
        if column is None or column == self.data.column_name:
            return self
        other = copy.copy(self)
        other.data = self.data.column(column)
        other.task = TASKS[other.data.task].from_data(other.data)
        return other

    def has_teacher(self) -> bool:
        """Whether somebody who is there teaches."""
        return self.config.teacher is not None or self.given.teacher is not None

    def teacher_is_trained(self) -> bool:
        """Whether one teacher is first trained on this data."""
        name, epochs = self.config.teacher, self.config.teacher_epochs
        if self.given.teacher is not None:
            return bool(epochs)
        if not isinstance(name, str) or (epochs is None and self.config.teacher_weights is not None):
            return False
        return self.is_trained(name)

    def is_trained(self, name: str) -> bool:
        """Whether a teacher of that name is first trained in this run."""
        if name == "moving_average" or stages.is_stage(name):
            return False
        epochs = self.config.teacher_epochs
        return not serialization.is_run(name) if epochs is None else epochs > 0

    def network(
        self,
        name: Any,
        weights: str | None,
        given: nn.Module | None = None,
        number: int = 0,
        size: Size | None = None,
        classes: Sequence[str] | None = None,
    ) -> LoadedNetwork:
        """A network by name, of a run folder, of a stage of this run's seed `number`, or a copy of the given one.

        size: of the images that it is to get, if not the data's.
        classes: those that it is to answer, if not the data's.
        """
        known = tuple(self.data.classes if classes is None else classes)
        for named in (weights, name):
            if stages.is_stage(named):
                return self._of_stage(stages.parse_stage_ref(str(named)), number)
        if given is not None:
            return self._of_object(copy.deepcopy(given))
        if serialization.is_run(name):
            return self.load_run(name, known)
        refuse_folder(name)
        made = models.create(
            name,
            classes=len(known),
            channels=self.data.channels,
            size=sides(size) if size else self.data.size,
            pretrained=self.config.pretrained,
            task=self.data.task,
            weights=weights,
        )
        for message in (*made.untrained, *made.notes):
            self.note(message)
        return LoadedNetwork(made.model, made.mean, made.std, classes=known, untrained=" ".join(made.untrained))

    def with_normalisation_of(self, network: LoadedNetwork, data: DataModule) -> DataModule:
        """The data as a network wants it; says so where it can't be had."""
        told = network.with_normalisation_of(data)
        if network.mean is not None and (told.mean, told.std) != (network.mean, network.std):
            self.note(
                f"a network wants its images normalised by mean {network.mean} and deviation {network.std}; they come "
                f"normalised already ({data.name}), and are left as they are."
            )
        return told

    def told(self, network: LoadedNetwork, config: Config) -> LoadedNetwork:
        """A teacher's network with the normalisation that `teacher_mean` and `teacher_std` say.

        Raises: ConfigError if they don't fit the channels, or if the network or the data says otherwise.
        """
        if config.teacher_mean is None:
            return network
        mean, std = (numbers(k, getattr(config, k), self.data.channels) for k in ("teacher_mean", "teacher_std"))
        if network.mean is not None and network.known and (network.mean, network.std) != (mean, std):
            raise ConfigError(
                f"teacher_mean={mean}, teacher_std={std}: {config.teacher} says itself that its images are normalised "
                f"by {network.mean} and {network.std}: leave both out."
            )
        told = replace(network, mean=mean, std=std, known=True)
        own = told.with_normalisation_of(self.data)
        if (own.mean, own.std) != (mean, std):
            raise ConfigError(
                f"teacher_mean={mean}, teacher_std={std}: the images of {self.data.name} come normalised, and nobody "
                "said by what: say normalised=(mean, std) of the data, or leave both out."
            )
        return told

    def _of_object(self, model: nn.Module) -> LoadedNetwork:
        """A given network, with what its card says if it was loaded from a run."""
        card = getattr(model, "card", None)
        if not isinstance(card, serialization.ModelCard):
            return LoadedNetwork(model)
        if card.classes != self.data.classes and sorted(card.classes) == sorted(self.data.classes):
            raise ConfigError(
                f"{card.model} was trained on the same classes in another order: it knows {join_first(card.classes)}, "
                f"{self.data.name} has {join_first(self.data.classes)}; use data in the same order."
            )
        return LoadedNetwork(model, card.mean, card.std, card.size, known=card.known)

    def load_run(self, path: str, known: tuple[str, ...] | None = None) -> LoadedNetwork:
        """The network of a run folder, which must know just these classes if such are given."""
        model = serialization.load(path)
        card: serialization.ModelCard = model.card  # type: ignore[assignment]
        if known is not None and card.classes != known:
            how = "in another order" if sorted(card.classes) == sorted(known) else "of other classes"
            raise ConfigError(
                f"{path} was trained {how}: it knows {join_first(card.classes)}, {self.data.name} has {join_first(known)}; "
                "use data whose class folders or labels are the same, in the same order."
            )
        if card.channels != self.data.channels:
            raise ConfigError(f"{path} takes {card.channels} channels, {self.data.name} has {self.data.channels}.")
        return LoadedNetwork(model, card.mean, card.std, card.size, card.classes, card.known)

    def _of_stage(self, left: stages.StageReference, number: int) -> LoadedNetwork:
        """What a phase of this run has left."""
        config, given = self.config, self.given
        if left.stage == "teacher":
            if stages.is_stage(config.teacher):
                raise ConfigError(f"teacher={config.teacher} names itself; name a model or a run folder.")
            if left.epoch is not None and not self.teacher_is_trained():
                raise ConfigError(f"stage:teacher@{left.epoch}: teacher={config.teacher} isn't trained in this run.")
            if not self.teacher_is_trained():
                return self.told(self.network(config.teacher, config.teacher_weights, given.teacher), config)
            return self.load_phase("teacher", config.teacher, given.teacher, config.teacher_weights, left.epoch)
        words = config.stage_overrides()
        if config.stages and config.baseline:
            words[stages.ALONE] = config.student_overrides()
        if left.stage not in words:
            raise ConfigError(unknown("stage", left.stage, ["teacher", *words]))
        name = words[left.stage].get("student", config.student)
        own = given.student if name == config.student else None
        return self.load_phase(f"{left.stage}-{number}", name, own, None, left.epoch)

    def load_phase(
        self,
        phase: str,
        name: Any,
        given: nn.Module | None,
        weights: str | None = None,
        epoch: int | None = None,
        classes: Sequence[str] | None = None,
    ) -> LoadedNetwork:
        """What a phase has left, at its end or after an epoch; in a rehearsal, its network as it begins."""
        path = self.folder / phase / ("model.safetensors" if epoch is None else f"epoch-{epoch}.safetensors")
        if self.is_dry_run:
            return replace(self.network(name, weights, given, classes=classes), untrained="")
        model = serialization.load(path, copy.deepcopy(given))
        card: serialization.ModelCard = model.card  # type: ignore[assignment]
        return LoadedNetwork(model, card.mean, card.std, card.size, card.classes, card.known)

    def first_terms(self, name: str | None, number: int) -> dict[str, Tensor] | None:
        """The state of the terms that a phase has left; in a rehearsal, theirs as they begin."""
        if name is None:
            return None
        stage = stages.parse_stage_ref(name).stage
        if stage not in (known := self.config.stage_overrides()):
            raise ConfigError(unknown("stage", stage, known))
        phase = f"{stage}-{number}"
        return self.dry_run_term_states[phase] if self.is_dry_run else serialization.tensors(self.folder / phase / "terms.safetensors")


def refuse_folder(name: str) -> None:
    """Refuse the path of a folder that is no run's; a model may bear the name of a folder that happens to be there."""
    if ("/" in name or name.startswith(".")) and Path(name).is_dir():
        raise ConfigError(
            f"{name} is a folder and holds no run: there is neither student.safetensors nor config.yaml with "
            "environment.json in it; give a run folder, or a model's name."
        )


def join_first(names: Sequence[str]) -> str:
    """The first of them, and how many there are."""
    return ", ".join(names[:4]) + (f", … ({len(names)})" if len(names) > 4 else "")
