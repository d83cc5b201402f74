"""What a configuration names, made: networks, teachers, terms, schemes, data."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from tutelage import column_teachers, models, registry, saved, stages
from tutelage.callbacks import Callback
from tutelage.config import Config, Spec, specs
from tutelage.data.base import Data
from tutelage.errors import ConfigError, unknown
from tutelage.fabric import make_fabric
from tutelage.loading import load_data
from tutelage.parts import Parts
from tutelage.phase import Phase
from tutelage.schemes.base import Scheme
from tutelage.settings import Settings
from tutelage.tasks.base import Task
from tutelage.tasks.classification import Classification
from tutelage.tasks.multi_task import MultiTask
from tutelage.tasks.segmentation import Segmentation
from tutelage.teachers.base import Teacher
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen, refuse_precision
from tutelage.teachers.moving_average import MovingAverage
from tutelage.teachers.random_teacher import RandomTeacher
from tutelage.teachers.specialists import Specialists
from tutelage.terms import Method, Terms

ALONE: dict[str, Any] = {
    "teacher": None, "method": None, "scheme": "offline", "students": [], "cache": False, "snapshots": [],
    "ensemble": "logits", "teacher_size": None, "dot": 0.0,
}  # fmt: skip
"""Words of a training by the ground truth alone."""

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "segmentation": Segmentation,
    "multi_task": MultiTask,
}


@dataclass
class Given:
    """What was given as an object instead of by name: networks, data, terms, further callbacks."""

    teacher: nn.Module | None = None
    student: nn.Module | None = None
    data: Data | None = None
    method: Method | None = None
    callbacks: tuple[Callback, ...] = ()


@dataclass
class Network:
    """A network and the normalisation that it wants, and the classes that it knows; None: the data's own."""

    model: nn.Module
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: tuple[str, ...] | None = None

    def wanted(self, data: Data) -> Data:
        """The data, normalised as the network wants it."""
        return data if self.mean is None or self.std is None else replace(data, mean=self.mean, std=self.std)


class Making:
    """The parts of one run, as its configuration names them or as they were given."""

    def __init__(self, config: Config, given: Given) -> None:
        self.config, self.given = config, given
        self.data = load_data(config, given.data)
        task = self.data.task if config.task == "auto" else config.task
        if task != self.data.task:
            raise ConfigError(f"task={config.task}, but {self.data.name} is data for {self.data.task}; leave task out.")
        self.task = TASKS[task].of(self.data)
        self.fabric = make_fabric(config)
        if config.devices > 1:
            self.fabric.launch()
        self.rehearsing = False
        self.folder = Path()

    # what is trained, in which order

    def phases(self) -> list[Phase]:
        """What is to be trained, in order."""
        config = self.config
        found = self._teachers()
        for k in range(config.seeds):
            seed = config.seed + k
            taught = self.has_teacher() or config.method or config.scheme_name != "offline" or config.stages
            if config.baseline and taught:
                found.append(Phase(f"alone-{k}", "alone", seed, k, self._alone_words()))
            found += [Phase(f"{name}-{k}", "stage", seed, k, words) for name, words in config.stage_words().items()]
            found.append(Phase(f"student-{k}", "student", seed, k, config.last_words()))
        return [replace(phase, words={**phase.words, "snapshots": self._snapshots(phase)}) for phase in found]

    def _alone_words(self) -> Spec:
        """The student's own, and as many epochs as its weights are trained for, but nobody teaches."""
        config, last = self.config, self.config.last_words()
        epochs = stages.epochs_of_weights(config.stage_words(), last, config.epochs)
        return {key: x for key, x in last.items() if key != "student_weights"} | ALONE | {"epochs": epochs}

    def _snapshots(self, phase: Phase) -> list[int]:
        """The epochs that are asked for, and those that later trainings name."""
        asked = phase.words.get("snapshots", self.config.snapshots)
        named = [stages.left(name) for stage in self.config.stages for _, name in stages.named(stage)]
        own = phase.name.rpartition("-")[0] or phase.name
        return sorted({*asked, *(epoch for name, epoch in named if name == own and epoch is not None)})

    def _teachers(self) -> list[Phase]:
        """The trainings of teachers that aren't there yet; those of several are members."""
        config = self.config
        words = ALONE | {"epochs": config.teacher_epochs or config.epochs, "lr": config.teacher_lr or config.lr}
        names = config.teacher if isinstance(config.teacher, list) else []
        if config.teacher_size and (self.teacher_is_trained() or any(map(self._is_trained, names))):
            raise ConfigError(
                f"teacher_size={config.teacher_size}: a teacher that is trained in this run sees the run's images; "
                f"train it first (`tutelage train … size={config.teacher_size}`), and give its run folder."
            )
        if not isinstance(config.teacher, list):
            if not self.teacher_is_trained():
                return []
            words = words | {"student": config.teacher, "student_weights": config.teacher_weights}
            return [Phase("teacher", "teacher", config.seed, 0, words)]
        columns = column_teachers.taught(config.teacher, self.data)
        return [
            Phase(f"teacher{i}", "member", config.seed + i, 0, words | {"student": name, "column": column})
            for i, (name, column) in enumerate(zip(config.teacher, columns, strict=True))
            if self._is_trained(name)
        ]

    def on(self, column: str | None) -> Making:
        """The same for one label column of the data."""
        if column is None or column == self.data.of:
            return self
        other = copy.copy(self)
        other.data = self.data.column(column)
        other.task = TASKS[other.data.task].of(other.data)
        return other

    def of(self, phase: Phase) -> Config:
        """The configuration of a phase.

        Raises: ConfigError if the phase's words and the run's contradict each other.
        """
        if self.given.method is None or "method" in phase.words:
            return self.config.told(phase.words, phase.name)
        told = self.config.told({**phase.words, "method": []}, phase.name)  # losses that no name may find
        return told.model_copy(update={"method": self.config.method})

    def settings(self, phase: Phase) -> Settings:
        """The trainer's, for one phase."""
        config = self.of(phase)
        values = {key: getattr(config, key) for key in Settings.model_fields} | {"seed": phase.seed}
        if not self.data.random:
            values["views"] = min(self.config.views or 1, 1) if self.config.cache else self.config.views
        return Settings(**values)

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
        return self._is_trained(name)

    def _is_trained(self, name: str) -> bool:
        if name == "moving_average" or stages.is_stage(name):
            return False
        epochs = self.config.teacher_epochs
        return not saved.is_run(name) if epochs is None else epochs > 0

    # what is trained with what

    def scheme(self, phase: Phase) -> tuple[Scheme, Parts]:
        """What a phase trains, and what it was made of."""
        parts = Parts(self, phase)
        kind = registry.find("schemes", parts.config.scheme_name).load()
        return kind.of(parts, **parts.config.scheme_options), parts

    def terms(self, config: Config, truth: bool = True) -> Terms:
        """A method's terms, with the task's loss beside them unless it has one or `truth` is false."""
        asked = self.given.method if self.given.method is not None and config.method == self.config.method else None
        given = copy.deepcopy(asked)  # phases and peers share nothing
        return Terms.of(given if given is not None else specs(config.method), self.task.truth() if truth else None)

    def network(
        self, name: Any, weights: str | None, given: nn.Module | None = None, number: int = 0, side: int | None = None
    ) -> Network:
        """A network by name, of a run folder, of a stage of this run's seed `number`, or a copy of the given one."""
        for named in (weights, name):
            if stages.is_stage(named):
                return self._of_stage(stages.left(str(named)), number)
        if given is not None:
            return Network(copy.deepcopy(given))
        if saved.is_run(name):
            return self._saved(name)
        made = models.create(
            name,
            classes=len(self.data.classes),
            channels=self.data.channels,
            size=(side, side) if side else self.data.size,
            pretrained=self.config.pretrained,
            task=self.data.task,
            weights=weights,
        )
        for message in made.notes:
            for callback in self.given.callbacks:
                callback.note({"kind": "note", "message": message})
        return Network(made.model, made.mean, made.std)

    def _saved(self, path: str) -> Network:
        model = saved.load(path)
        card: saved.Card = model.card  # type: ignore[assignment]
        ours = self.data.classes
        if card.classes != ours:
            how = "in another order" if sorted(card.classes) == sorted(ours) else "of other classes"
            raise ConfigError(
                f"{path} was trained {how}: it knows {few(card.classes)}, {self.data.name} has {few(ours)}; "
                "use data whose class folders or labels are the same, in the same order."
            )
        if card.channels != self.data.channels:
            raise ConfigError(f"{path} takes {card.channels} channels, {self.data.name} has {self.data.channels}.")
        return Network(model, card.mean, card.std)

    def _of_stage(self, left: stages.Left, number: int) -> Network:
        """What a phase of this run has left."""
        config, given = self.config, self.given
        if left.stage == "teacher":
            if stages.is_stage(config.teacher):
                raise ConfigError(f"teacher={config.teacher} names itself; name a model or a run folder.")
            if left.epoch is not None and not self.teacher_is_trained():
                raise ConfigError(f"stage:teacher@{left.epoch}: teacher={config.teacher} isn't trained in this run.")
            if not self.teacher_is_trained():
                return self.network(config.teacher, config.teacher_weights, given.teacher)
            return self._of_phase("teacher", config.teacher, given.teacher, config.teacher_weights, left.epoch)
        words = config.stage_words()
        if left.stage not in words:
            raise ConfigError(unknown("stage", left.stage, ["teacher", *words]))
        name = words[left.stage].get("student", config.student)
        own = given.student if name == config.student else None
        return self._of_phase(f"{left.stage}-{number}", name, own, None, left.epoch)

    def _of_phase(
        self, phase: str, name: Any, given: nn.Module | None, weights: str | None = None, epoch: int | None = None
    ) -> Network:
        """What a phase has left, at its end or after an epoch; in a rehearsal, its network as it begins."""
        path = self.folder / phase / ("model.safetensors" if epoch is None else f"epoch-{epoch}.safetensors")
        if self.rehearsing:
            return self.network(name, weights, given)
        model = saved.load(path, copy.deepcopy(given))
        card: saved.Card = model.card  # type: ignore[assignment]
        return Network(model, card.mean, card.std)

    def teacher(self, config: Config, number: int, data: Data, student: nn.Module | None = None) -> Teacher | None:
        """The teacher that a configuration names, as the phases before left it; an average follows the student."""
        if config.teacher == "moving_average":
            assert student is not None
            return MovingAverage(student, self.task, config.decay)
        if isinstance(config.teacher, list):
            self._refuse_untrained(config.teacher, config)
            return self._several(self.members(config.teacher, number), config, number, data)
        if config.teacher is None and (self.given.teacher is None or config.method is None):
            return None
        if config.teacher == self.config.teacher and self.teacher_is_trained():
            network = self._of_phase("teacher", config.teacher, self.given.teacher, config.teacher_weights)
            return self.frozen(network, data)
        self._refuse_untrained([config.teacher], config)
        given = self.given.teacher if config.teacher == self.config.teacher else None
        side = config.teacher_size
        return self.frozen(self.network(config.teacher, config.teacher_weights, given, number, side), data)

    def members(self, teachers: Sequence[str], number: int) -> list[Network]:
        """The networks of several teachers; each one's classes are those of its label column, if there are such."""
        found = []
        for i, (name, column) in enumerate(zip(teachers, column_teachers.taught(teachers, self.data), strict=True)):
            own = self.on(column)
            network = own._member(i, name, number)
            if own is not self:
                column_teachers.refuse(name, getattr(network.model, "card", None), own.data)
                network.classes = tuple(f"{column}={c}" for c in own.data.classes)
            found.append(network)
        return found

    def _several(self, networks: list[Network], config: Config, number: int, data: Data) -> Ensemble:
        """Several teachers as one."""
        members = [self.frozen(network, data) for network in networks]
        classes = [network.classes or data.classes for network in networks]
        if any(known != data.classes for known in classes):
            if config.ensemble != "logits":
                raise ConfigError(f"ensemble={config.ensemble}: the teachers know different classes, leave it out.")
            return Specialists(members, classes, data.classes)
        if config.ensemble in ("random", "annealed"):
            course = config.epochs if config.ensemble == "annealed" else None
            return RandomTeacher(members, config.seed + number, course)
        return Ensemble(members, config.ensemble)

    def _refuse_untrained(self, names: Sequence[Any], config: Config) -> None:
        """Refuse a stage's own teacher that nobody has trained."""
        if config.teacher == self.config.teacher or config.teacher_weights is not None:
            return
        for name in names:
            if self._is_trained(str(name)):
                raise ConfigError(
                    f"teacher={name} is this stage's own, and isn't trained: make it a stage before this one and name "
                    f"it (teacher=stage:NAME), give a run folder, or say teacher_epochs=0 to take it as it is."
                )

    def _member(self, i: int, name: str, number: int) -> Network:
        return (
            self._of_phase(f"teacher{i}", name, None)
            if self._is_trained(name)
            else self.network(name, None, None, number, self.config.teacher_size)
        )

    def frozen(self, network: Network, data: Data) -> Frozen:
        """A frozen teacher that gets its images normalised as it wants them."""
        config = self.config
        refuse_precision(config.teacher_precision, config.teacher_device or str(self.fabric.device))
        how: Any = {
            "precision": config.teacher_precision,
            "folded": config.teacher_fold,
            "size": config.teacher_size,
        }
        if network.mean is None or network.std is None or (network.mean, network.std) == (data.mean, data.std):
            return Frozen(network.model, self.task, **how)
        scale = [ours / theirs for ours, theirs in zip(data.std, network.std, strict=True)]
        shift = [(ours - theirs) / s for ours, theirs, s in zip(data.mean, network.mean, network.std, strict=True)]
        return Frozen(network.model, self.task, scale, shift, **how)


def few(names: Sequence[str]) -> str:
    """The first of them, and how many there are."""
    return ", ".join(names[:4]) + (f", … ({len(names)})" if len(names) > 4 else "")
