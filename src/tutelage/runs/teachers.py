"""The teachers that a run's configuration names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from tutelage.config.schema import Config
from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.models import serialization
from tutelage.runs.loaded_network import LoadedNetwork
from tutelage.runs.networks import NetworkLoader
from tutelage.runs.plan import column_of_each
from tutelage.teachers.base import Teacher, TeacherContext
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen, refuse_precision
from tutelage.teachers.prefetching import with_prefetch
from tutelage.teachers.projected import Projected
from tutelage.teachers.random_member import RandomMember
from tutelage.teachers.specialists import Specialists
from tutelage.utils import registry
from tutelage.utils.key_types import parse_size


class TeacherFactory:
    """Makes the teachers that a configuration names, from networks and from the catalogue."""

    def __init__(self, networks: NetworkLoader) -> None:
        self.networks, self.inputs, self.plan = networks, networks.inputs, networks.plan
        self.config, self.data, self.task = self.inputs.config, self.inputs.data, self.inputs.task

    def teacher(
        self, config: Config, number: int, data: DataModule, student: nn.Module | None = None
    ) -> Teacher | None:
        """The teacher that a configuration names, as the phases before left it; an average follows the student."""
        if (named := config.catalogue_teacher) is not None:
            context = TeacherContext(student, self.task, data, self.config.seed + number)
            kind, options = named
            teacher: Teacher = registry.find_entry("teachers", kind).load().from_context(context, **options)
            return teacher
        self._refuse_untrained(config)
        if isinstance(config.teacher, list):
            return self._several(config, number, data)
        if config.teacher is None and (self.inputs.provided.teacher is None or config.method is None):
            return None
        if config.teacher == self.config.teacher and self.plan.teacher_is_trained():
            network = self.networks.load_phase(
                "teacher", config.teacher, self.inputs.provided.teacher, config.teacher_weights
            )
            return self.frozen(network, config, data)
        provided = self.inputs.provided.teacher if config.teacher == self.config.teacher else None
        network = self.networks.network(config.teacher, config.teacher_weights, provided, number, config.teacher_size)
        return self.frozen(self.networks.with_teacher_normalisation(network, config), config, data)

    def members(self, config: Config, number: int) -> list[LoadedNetwork]:
        """Return the networks of several teachers; with label columns, each one's classes are those of its column."""
        result = []
        columns = column_of_each(config.teacher_names, self.data)
        for i, (teacher, column) in enumerate(zip(config.each_teacher(), columns, strict=True)):
            own = TeacherFactory(self.networks.for_column(column))
            network = self.networks.with_teacher_normalisation(own.member(i, teacher, number), teacher)
            if own.inputs is not self.inputs:
                refuse_other_column(str(teacher.teacher), getattr(network.model, "card", None), own.data)
                network = replace(network, classes=tuple(f"{column}={c}" for c in own.data.classes))
            result.append(network)
        return result

    def _several(self, config: Config, number: int, data: DataModule) -> Ensemble:
        """Return several teachers as one."""
        networks, teachers = self.members(config, number), config.each_teacher()
        members: list[Teacher] = [
            self._with_own_place(self.frozen(network, teacher, data), teacher, config)
            for network, teacher in zip(networks, teachers, strict=True)
        ]
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

    def _with_own_place(self, member: Teacher, config: Config, run: Config) -> Teacher:
        """Return one of several teachers on the device and with the width that it alone has."""
        width, device = (
            getattr(config, key) if getattr(config, key) != getattr(run, key) else None
            for key in ("teacher_width", "teacher_device")
        )
        placed = with_prefetch(Projected(member, width) if width else member, 0, device)
        assert placed is not None
        return placed

    def _refuse_untrained(self, config: Config) -> None:
        """Refuse a stage's own teacher that nobody has trained."""
        if config.teacher == self.config.teacher:
            return
        for teacher in config.each_teacher():
            if teacher.teacher_weights is None and self.plan.is_trained(teacher):
                raise ConfigError(
                    f"teacher={teacher.teacher} is this stage's own, and isn't trained: make it a stage before this "
                    "one "
                    "and name it (teacher=stage:NAME), give a run folder, or say teacher_epochs=0 to take it as it is."
                )

    def member(self, i: int, config: Config, number: int) -> LoadedNetwork:
        """Return one of several teachers, which may know some of the classes only."""
        name, weights = str(config.teacher), config.teacher_weights
        if self.plan.is_trained(config):
            return self.networks.load_phase(f"teacher{i}", name, None, weights, classes=self.plan.member_classes(i))
        if weights is None and serialization.is_run(name):
            return self.networks.load_run(name)
        return self.networks.network(name, weights, None, number, config.teacher_size)

    def frozen(self, network: LoadedNetwork, config: Config, data: DataModule) -> Frozen:
        """Return a frozen teacher that gets its images normalised, and of the size, as it requires them."""
        refuse_precision(config.teacher_precision, config.teacher_device or str(self.inputs.fabric.device))
        side, size = None if network.size == data.size else network.size, config.teacher_size
        how: Any = {
            "precision": config.teacher_precision,
            "folded": config.teacher_fold,
            "size": parse_size(size) if isinstance(size, str) else size or side,
            "untrained": network.untrained,
        }
        own = self.networks.with_normalisation_of(network, data)
        if (own.mean, own.std) == (data.mean, data.std):
            return Frozen(network.model, self.task, **how)
        scale = [student_value / teacher_value for student_value, teacher_value in zip(data.std, own.std, strict=True)]
        shift = [
            (student_value - teacher_value) / s
            for student_value, teacher_value, s in zip(data.mean, own.mean, own.std, strict=True)
        ]
        return Frozen(network.model, self.task, scale, shift, **how)


def refuse_other_column(name: str, card: serialization.ModelCard | None, own: DataModule) -> None:
    """Refuse a saved network that wasn't trained on the column that it is to teach; own: the data of that column.

    Raises: ConfigError that says what it knows.
    """
    if card is not None and (card.classes != own.classes or card.column not in ("", own.column_name)):
        raise ConfigError(
            f"{name} can't teach {own.column_name} of {own.name} ({', '.join(own.classes)}): it was trained on "
            f"{card.column or card.data}, and knows {', '.join(card.classes)}; give a teacher for each label column, "
            "in their order."
        )
