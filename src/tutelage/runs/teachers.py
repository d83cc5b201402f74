"""The teachers that a run's configuration names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from tutelage.config.schema import Config
from tutelage.data.data_module import DataModule
from tutelage.data.input_views import same_view, view_inputs, view_key
from tutelage.errors import ConfigError
from tutelage.models import serialization
from tutelage.runs.loaded_network import LoadedNetwork
from tutelage.runs.networks import NetworkLoader
from tutelage.runs.plan import column_of_each_teacher, needs_training
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
        """Return the teacher that a configuration names, trained by an earlier phase if so planned; None: none."""
        if (catalogue_teacher := config.catalogue_teacher) is not None:
            context = TeacherContext(student, self.task, data, self.config.seed + number)
            kind, options = catalogue_teacher
            teacher: Teacher = registry.find_entry("teachers", kind).load().from_context(context, **options)
            return teacher
        self._refuse_untrained(config)
        if isinstance(config.teacher, list):
            return self._several(config, number, data)
        is_left_out = self.config.teacher is not None or self.inputs.provided.teacher is None or config.method is None
        if config.teacher is None and is_left_out:
            return None
        if config.teacher == self.config.teacher and self.plan.teacher_is_trained():
            of_run = self.networks.for_inputs(self.plan.inputs).for_view(config.teacher_inputs)
            network = of_run.load_phase("teacher", config.teacher, self.inputs.provided.teacher, config.teacher_weights)
            return self.frozen(self.networks.as_backbone(network), config, data)
        provided = self.inputs.provided.teacher if config.teacher == self.config.teacher else None
        loader = self.networks.for_view(config.teacher_inputs)
        network = loader.network(config.teacher, config.teacher_weights, provided, number, config.teacher_size)
        return self.frozen(self.networks.with_teacher_normalisation(network, config), config, data)

    def members(self, config: Config, number: int) -> list[LoadedNetwork]:
        """Return the networks of several teachers; with label columns, each one's classes are those of its column."""
        result = []
        columns = column_of_each_teacher(config.teacher_names, self.data)
        for i, (teacher, column) in enumerate(zip(config.each_teacher(), columns, strict=True)):
            factory = TeacherFactory(self.networks.for_column(column).for_view(teacher.teacher_inputs))
            network = self.networks.with_teacher_normalisation(factory.member(i, teacher, number), teacher)
            if column is not None and column != self.data.column_name:
                refuse_other_column(str(teacher.teacher), getattr(network.model, "card", None), factory.data)
                network = replace(network, classes=tuple(f"{column}={c}" for c in factory.data.classes))
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
        if any(member_classes != data.classes for member_classes in classes):
            if config.ensemble != "logits":
                raise ConfigError(
                    f"ensemble={config.ensemble}: the teachers were trained on different classes: leave ensemble out."
                )
            return Specialists(members, classes, data.classes)
        if config.ensemble == "probabilities" and self.task.response_kind != "classes":
            raise ConfigError(
                "ensemble=probabilities averages probabilities of classes, and the outputs are "
                f"{self.task.response_kind}: use ensemble=logits."
            )
        if config.ensemble in ("random", "annealed"):
            course = config.epochs if config.ensemble == "annealed" else None
            if config.teacher_width:  # one is used at a time: each is projected as it is compared
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
        """Refuse a stage's own teacher that isn't trained."""
        if config.teacher == self.config.teacher:
            return
        for teacher in config.each_teacher():
            if teacher.teacher_weights is None and needs_training(teacher):
                raise ConfigError(
                    f"teacher={teacher.teacher} is this stage's own, and isn't trained: make it a stage before this "
                    "one and name it (teacher=stage:NAME), give a run folder, or set teacher_epochs=0 to use it as it "
                    "is."
                )

    def member(self, i: int, config: Config, number: int) -> LoadedNetwork:
        """Return the network of one of several teachers, which may be trained on some of the classes only."""
        name, weights = str(config.teacher), config.teacher_weights
        if needs_training(config):
            return self.networks.load_phase(f"teacher{i}", name, None, weights, classes=self.plan.member_classes(i))
        if weights is None and serialization.is_run(name):
            return self.networks.load_run(name)
        return self.networks.network(name, weights, None, number, config.teacher_size)

    def frozen(self, network: LoadedNetwork, config: Config, data: DataModule) -> Frozen:
        """Return a frozen teacher that gets its images normalised, and of the size, as it requires them."""
        refuse_precision(config.teacher_precision, config.teacher_device or str(self.inputs.fabric.device))
        seen = view_inputs(data, config.teacher_inputs)
        seen = data if same_view(seen, data) else seen
        side, size = None if network.size == seen.size else network.size, config.teacher_size
        options: Any = {
            "precision": config.teacher_precision,
            "folded": config.teacher_fold,
            "size": parse_size(size) if isinstance(size, str) else size or side,
            "untrained": network.untrained,
            "view": "" if seen is data else view_key(seen),
        }
        if data.values is not None and network.values not in (None, data.values):
            options["rescale"] = data.values.conversion_from(network.values)
        teacher_data = self.networks.with_normalisation_of(network, seen)
        if (teacher_data.mean, teacher_data.std) == (seen.mean, seen.std):
            return Frozen(network.model, self.task, **options)
        scale = [s / t for s, t in zip(seen.std, teacher_data.std, strict=True)]
        shift = [
            (s_mean - t_mean) / t_std
            for s_mean, t_mean, t_std in zip(seen.mean, teacher_data.mean, teacher_data.std, strict=True)
        ]
        return Frozen(network.model, self.task, scale, shift, **options)


def refuse_other_column(name: str, card: serialization.ModelCard | None, data: DataModule) -> None:
    """Refuse a saved network that wasn't trained on the column that it is to teach; data: that column's.

    Raises: ConfigError that names the column and the classes that it was trained on.
    """
    if card is not None and (card.classes != data.classes or card.column not in ("", data.column_name)):
        raise ConfigError(
            f"{name} can't teach {data.column_name} of {data.name} ({', '.join(data.classes)}): it was trained on "
            f"{card.column or card.data}, with the classes {', '.join(card.classes)}; give a teacher for each label "
            "column, "
            "in their order."
        )
