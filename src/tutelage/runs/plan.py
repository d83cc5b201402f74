"""What a configuration names, made: networks, teachers, terms, schemes, data."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from tutelage.runs import column_teachers
from tutelage.config import stages
from tutelage.models import serialization
from tutelage.utils import registry
from tutelage.config.schema import Config
from tutelage.data.data_module import DataModule
from tutelage.data.preparation import select_classes
from tutelage.errors import ConfigError
from tutelage.config.kinds import Spec
from tutelage.utils.key_types import sides
from tutelage.config.methods import specs
from tutelage.runs.networks import LoadedNetwork, NetworkLoader
from tutelage.runs.scheme_context import RunSchemeContext
from tutelage.runs.phase import Phase
from tutelage.schemes.base import Scheme
from tutelage.settings import TrainerSettings
from tutelage.teachers.base import Teacher
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen, refuse_precision
from tutelage.teachers.moving_average import MovingAverage
from tutelage.teachers.projected import Projected
from tutelage.teachers.random_member import RandomMember
from tutelage.teachers.specialists import Specialists
from tutelage.objective.terms import Terms

ALONE: dict[str, Any] = {
    "teacher": None, "method": None, "scheme": "offline", "students": [], "cache": False, "snapshots": [],
    "ensemble": "logits", "teacher_size": None, "dot": 0.0, "term_weights": None,
}  # fmt: skip
"""Words of a training by the ground truth alone."""


class RunPlan(NetworkLoader):
    """The parts of one run, as its configuration names them or as they were given."""

    # what is trained, in which order

    def phases(self) -> list[Phase]:
        """What is to be trained, in order."""
        config = self.config
        found = self._teachers()
        for k in range(config.seeds):
            seed = config.seed + k
            taught = self.has_teacher() or config.method or config.scheme_name != "offline" or config.stages
            if config.baseline and taught:
                found.append(Phase(f"alone-{k}", "alone", seed, k, self._baseline_overrides()))
            found += [Phase(f"{name}-{k}", "stage", seed, k, words) for name, words in config.stage_overrides().items()]
            found.append(Phase(f"student-{k}", "student", seed, k, config.student_overrides()))
        return [replace(phase, overrides={**phase.overrides, "snapshots": self._snapshots(phase)}) for phase in found]

    def _baseline_overrides(self) -> Spec:
        """The student's own, and as many epochs as its weights are trained for, but nobody teaches."""
        config, last = self.config, self.config.student_overrides()
        epochs = stages.epochs_of_weights(config.stage_overrides(), last, config.epochs)
        return {key: x for key, x in last.items() if key != "student_weights"} | ALONE | {"epochs": epochs}

    def _snapshots(self, phase: Phase) -> list[int]:
        """The epochs that are asked for, and those that later trainings name."""
        asked = phase.overrides.get("snapshots", self.config.snapshots)
        named = [stages.parse_stage_ref(name) for stage in self.config.stages for _, name in stages.stage_refs(stage)]
        own = phase.name.rpartition("-")[0] or phase.name
        return sorted({*asked, *(epoch for name, epoch in named if name == own and epoch is not None)})

    def _teachers(self) -> list[Phase]:
        """The trainings of teachers that aren't there yet; those of several are members."""
        config = self.config
        words = ALONE | {"epochs": config.teacher_epochs or config.epochs, "lr": config.teacher_lr or config.lr}
        words |= {"scheme": config.teacher_scheme or "offline"}
        names = config.teacher if isinstance(config.teacher, list) else []
        here = self.teacher_is_trained() or any(map(self.is_trained, names))
        if config.teacher_scheme and not here:
            raise ConfigError(
                f"teacher_scheme={config.teacher_scheme} is how a teacher is trained in this run, and none is: name a "
                "model as teacher, with teacher_epochs above 0, or leave it out."
            )
        if config.teacher_size and here:
            raise ConfigError(
                f"teacher_size={config.teacher_size}: a teacher that is trained in this run sees the run's images; "
                f"train it first (`tutelage train … size={config.teacher_size}`), and give its run folder."
            )
        if config.teacher_mean and here:
            raise ConfigError(
                f"teacher_mean={config.teacher_mean}: a teacher that is trained in this run gets its images normalised "
                "as the data says: leave teacher_mean and teacher_std out, or say teacher_epochs=0 to take it as it is."
            )
        if not isinstance(config.teacher, list):
            if not self.teacher_is_trained():
                return []
            words = words | {"student": config.teacher, "student_weights": config.teacher_weights}
            return [Phase("teacher", "teacher", config.seed, 0, words)]
        columns = column_teachers.taught(config.teacher, self.data)
        return [
            Phase(f"teacher{i}", "member", config.seed + i, 0, words | self._member_overrides(i, name, column))
            for i, (name, column) in enumerate(zip(config.teacher, columns, strict=True))
            if self.is_trained(name)
        ]

    def _member_overrides(self, i: int, name: str, column: str | None) -> Spec:
        """The keys that the training of one of several teachers has otherwise."""
        return {"student": name, "column": column, "classes": self._known(i)}

    def _known(self, i: int) -> list[str] | None:
        """The classes that one of several teachers learns here; None: all."""
        config, names = self.config, list(self.data.classes)
        several = config.teacher if isinstance(config.teacher, list) else []
        if config.teacher_classes is None:
            return None
        if config.teacher_classes == "parts":
            chosen = names[i * len(names) // len(several) : (i + 1) * len(names) // len(several)]
            return list(select_classes(self.data, chosen).classes)
        if len(config.teacher_classes) != len(several) or not all(map(self.is_trained, several)):
            raise ConfigError(
                f"teacher_classes={config.teacher_classes}: expected a list of classes for each of {len(several)} "
                "teachers that are trained in this run; a run folder knows its own."
            )
        return list(select_classes(self.data, config.teacher_classes[i]).classes)

    def config_for(self, phase: Phase) -> Config:
        """The configuration of a phase.

        Raises: ConfigError if the phase's words and the run's contradict each other.
        """
        if self.given.method is None or "method" in phase.overrides:
            return self.config.told(phase.overrides, phase.name)
        told = self.config.told({**phase.overrides, "method": []}, phase.name)  # losses that no name may find
        return told.model_copy(update={"method": self.config.method})

    def settings(self, phase: Phase) -> TrainerSettings:
        """The trainer's, for one phase."""
        config = self.config_for(phase)
        values = {key: getattr(config, key) for key in TrainerSettings.model_fields} | {"seed": phase.seed}
        if not self.data.random:
            values["views"] = min(self.config.views or 1, 1) if self.config.cache else self.config.views
        return TrainerSettings(**values)

    # what is trained with what

    def scheme(self, phase: Phase) -> tuple[Scheme, RunSchemeContext]:
        """What a phase trains, and what it was made of."""
        parts = RunSchemeContext(self, phase)
        kind = registry.find("schemes", parts.config.scheme_name).load()
        return kind.from_context(parts, **parts.config.scheme_options), parts

    def terms(self, config: Config, truth: bool = True, first: Mapping[str, Tensor] | None = None) -> Terms:
        """A method's terms, with the task's loss beside them unless it has one or `truth` is false."""
        asked = self.given.method if self.given.method is not None and config.method == self.config.method else None
        given = copy.deepcopy(asked)  # phases and peers share nothing
        method = given if given is not None else specs(config.method)
        return Terms.from_method(method, self.task.task_loss() if truth else None, first)

    def leaves_terms(self, phase: Phase) -> bool:
        """Whether a later phase takes over what this one's terms have."""
        named = [name for stage in self.config.stages for key, name in stages.stage_refs(stage) if key == "term_weights"]
        return phase.role == "stage" and phase.name.rpartition("-")[0] in {stages.parse_stage_ref(name).stage for name in named}

    def teacher(self, config: Config, number: int, data: DataModule, student: nn.Module | None = None) -> Teacher | None:
        """The teacher that a configuration names, as the phases before left it; an average follows the student."""
        if config.teacher == "moving_average":
            assert student is not None
            return MovingAverage(student, self.task, config.decay)
        if isinstance(config.teacher, list):
            self._refuse_untrained(config.teacher, config)
            members = [self.told(network, config) for network in self.members(config.teacher, number)]
            return self._several(members, config, number, data)
        if config.teacher is None and (self.given.teacher is None or config.method is None):
            return None
        if config.teacher == self.config.teacher and self.teacher_is_trained():
            network = self.load_phase("teacher", config.teacher, self.given.teacher, config.teacher_weights)
            return self.frozen(network, data)
        self._refuse_untrained([config.teacher], config)
        given = self.given.teacher if config.teacher == self.config.teacher else None
        network = self.network(config.teacher, config.teacher_weights, given, number, config.teacher_size)
        return self.frozen(self.told(network, config), data)

    def members(self, teachers: Sequence[str], number: int) -> list[LoadedNetwork]:
        """The networks of several teachers; each one's classes are those of its label column, if there are such."""
        found = []
        for i, (name, column) in enumerate(zip(teachers, column_teachers.taught(teachers, self.data), strict=True)):
            own = self.for_column(column)
            network = own.member(i, name, number)
            if own is not self:
                column_teachers.refuse(name, getattr(network.model, "card", None), own.data)
                network.classes = tuple(f"{column}={c}" for c in own.data.classes)
            found.append(network)
        return found

    def _several(self, networks: list[LoadedNetwork], config: Config, number: int, data: DataModule) -> Ensemble:
        """Several teachers as one."""
        members: list[Teacher] = [self.frozen(network, data) for network in networks]
        classes = [network.classes or data.classes for network in networks]
        if any(known != data.classes for known in classes):
            if config.ensemble != "logits":
                raise ConfigError(f"ensemble={config.ensemble}: the teachers know different classes, leave it out.")
            return Specialists(members, classes, data.classes)
        if config.ensemble in ("random", "annealed"):
            course = config.epochs if config.ensemble == "annealed" else None
            if config.teacher_width:  # one answers at a time: each is as it will be compared
                members = [Projected(member, config.teacher_width) for member in members]
            return RandomMember(members, config.seed + number, course)
        return Ensemble(members, "probabilities" if config.ensemble == "probabilities" else "logits")

    def _refuse_untrained(self, names: Sequence[Any], config: Config) -> None:
        """Refuse a stage's own teacher that nobody has trained."""
        if config.teacher == self.config.teacher or config.teacher_weights is not None:
            return
        for name in names:
            if self.is_trained(str(name)):
                raise ConfigError(
                    f"teacher={name} is this stage's own, and isn't trained: make it a stage before this one and name "
                    f"it (teacher=stage:NAME), give a run folder, or say teacher_epochs=0 to take it as it is."
                )

    def member(self, i: int, name: str, number: int) -> LoadedNetwork:
        """One of several teachers, which may know some of the classes only."""
        if self.is_trained(name):
            return self.load_phase(f"teacher{i}", name, None, classes=self._known(i))
        if serialization.is_run(name):
            return self.load_run(name)
        return self.network(name, None, None, number, self.config.teacher_size)

    def frozen(self, network: LoadedNetwork, data: DataModule) -> Frozen:
        """A frozen teacher that gets its images normalised, and of the size, as it wants them."""
        config = self.config
        refuse_precision(config.teacher_precision, config.teacher_device or str(self.fabric.device))
        side, wanted = None if network.size == data.size else network.size, config.teacher_size
        how: Any = {
            "precision": config.teacher_precision,
            "folded": config.teacher_fold,
            "size": sides(wanted) if isinstance(wanted, str) else wanted or side,
            "untrained": network.untrained,
        }
        own = self.with_normalisation_of(network, data)
        if (own.mean, own.std) == (data.mean, data.std):
            return Frozen(network.model, self.task, **how)
        scale = [ours / theirs for ours, theirs in zip(data.std, own.std, strict=True)]
        shift = [(ours - theirs) / s for ours, theirs, s in zip(data.mean, own.mean, own.std, strict=True)]
        return Frozen(network.model, self.task, scale, shift, **how)
