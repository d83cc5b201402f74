"""The context from which a scheme is built: networks, terms and a teacher, as one phase of a run names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.cache.codecs import get_codec
from tutelage.config.kinds import ExtraStudent
from tutelage.config.methods import term_specs
from tutelage.config.schema import Config
from tutelage.data.data_module import DataModule
from tutelage.data.input_views import view_key
from tutelage.data.preparation import split_off
from tutelage.errors import ConfigError
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.runs.builder import RunBuilder
from tutelage.runs.data import with_teacher_views
from tutelage.runs.loaded_network import LoadedNetwork
from tutelage.runs.phase import Phase
from tutelage.runs.teacher_cache import refuse_changing, with_cache
from tutelage.schemes.base import Scheme
from tutelage.settings import TrainerSettings
from tutelage.tasks.base import Task
from tutelage.teachers.base import Teacher
from tutelage.teachers.prefetching import with_prefetch
from tutelage.teachers.projected import Projected
from tutelage.training.fabric import seed_everything
from tutelage.utils import registry


class RunSchemeContext:
    """Builds the networks, terms and teacher of a scheme in one phase of a run.

    names: the models of the networks that it has built, by player. views: the data of those with other inputs than the
    first.
    """

    def __init__(self, builder: RunBuilder, phase: Phase) -> None:
        self.run_builder, self.phase = builder, phase
        self.config: Config = builder.plan.config_for(phase)
        builder = builder.for_inputs(builder.plan.inputs_for(phase))
        view = self.config.student_inputs, self.config.student_size
        self.builder = builder.for_column(phase.overrides.get("column")).for_view(*view)
        self.inputs, self.networks, self.teachers = self.builder.inputs, self.builder.networks, self.builder.teachers
        self.settings: TrainerSettings = self.config
        self.peers = len(self.config.each_peer)
        self.method = None if self.config.method == Config.model_fields["method"].default else self.config.method
        self.frozen_only = self.config.frozen_only()
        self.task: Task = self.inputs.task
        self.seed = phase.seed
        self.names: dict[str, str] = {}
        self.views: dict[str, DataModule] = {}
        self._first_network: LoadedNetwork | None = None

    @property
    def phase_folder(self) -> Path:
        """The folder of the phase."""
        return self.builder.storage.folder / self.phase.name

    @cached_property
    def data(self) -> DataModule:
        """The run's data, normalised as the first network expects it, with the views of teachers of other inputs."""
        assert self._first_network is not None, "a scheme builds its first network before it reads the data"
        data = self.networks.with_normalisation_of(self._first_network, self.inputs.data_with(self.config))
        return with_teacher_views(data, self.config, [*self.views.values()])

    def hold_out(self, share: float) -> DataModule:
        """Take a stratified share of the training samples out of the data; return the data with those for training."""
        data = self.data
        if data.streams:
            raise ConfigError(
                f"scheme={self.config.scheme_name} holds out training samples, which streams don't allow."
            )
        remaining, held_out = split_off(data.name, "held-out samples", data.train, share, self.config.data_seed)
        self.data = replace(data, train=remaining)
        return replace(data, train=held_out)

    def network(self, number: int = 0, player: str = "student") -> nn.Module:
        """Return a new network: the student, or one of several peers by number.

        Raises: ConfigError if it expects another normalisation than the first one, or other inputs.
        """
        peer = self.config.each_peer[number]
        if peer["inputs"] != self.config.student_inputs:
            raise ConfigError(
                f"peers: {peer['model']} gets {peer['inputs']}, and scheme={self.config.scheme_name} gives all peers "
                "the same inputs: use scheme=mutual or codistillation, or one `inputs` for all."
            )
        return self._network(peer["model"], player, peer["weights"])

    def _viewing_player(self, peer: Mapping[str, Any], player: str) -> Player:
        """Return the player of a peer with inputs of its own, as it expects them normalised."""
        loader = self.run_builder.for_column(self.phase.overrides.get("column")).for_view(peer["inputs"]).networks
        name, classes = peer["model"], self.config.classes
        network = loader.network(name, peer["weights"], None, self.phase.number, classes=classes)
        seen = loader.with_normalisation_of(network, loader.inputs.data_with(self.config))
        for other in self.views.values():
            if view_key(other) == view_key(seen) and (other.mean, other.std) != (seen.mean, seen.std):
                raise ConfigError(f"peers: {name} expects {view_key(seen)} normalised differently from another peer.")
        self.names[player], self.views[player] = str(name), seen
        return Player(network.model, self.terms(), self.task, view_key(seen))

    def _network(self, name: str | None, player: str, weights: str | None = None, seed: int | None = None) -> nn.Module:
        if seed is not None:
            seed_everything(seed)
        provided, is_student = self.inputs.provided, name == self.inputs.config.student
        module = provided.teacher if self.phase.role == "teacher" else provided.student if is_student else None
        network = self.networks.network(name, weights, module, self.phase.number, classes=self.config.classes)
        if self._first_network is None:
            self._first_network = network
        elif (
            network.with_normalisation_of(self.inputs.data).mean != self.data.mean
            or network.with_normalisation_of(self.inputs.data).std != self.data.std
        ):
            raise ConfigError(
                f"{name} expects its images normalised differently from {self.config.student}; students that share "
                "batches must expect the same normalisation: train it in a run of its own."
            )
        self.names[player] = str(name)
        return network.model

    def new_student(self, name: str | None = None) -> nn.Module:
        """Return a new network for the run's student or the model `name`, which the phase's network is to teach."""
        student = self.inputs.config.student
        provided = self.inputs.provided.student if name in (None, student) else None
        return self.networks.network(name or student, None, provided, self.phase.number).model

    def player(self, number: int = 0, player: str = "student") -> Player:
        """Return a player: a new network with the method's terms."""
        peer = self.config.each_peer[number]
        if peer["inputs"] != self.config.student_inputs:
            return self._viewing_player(peer, player)
        return Player(self.network(number, player), self.terms(), self.task)

    def terms(self, add_task_loss: bool = True) -> Terms:
        """Return the method's terms, with the task's loss in addition if `add_task_loss` and the method has none."""
        first = self.networks.first_terms(self.config.term_weights, self.phase.number)
        return self.builder.terms(self.config, add_task_loss, first)

    def teacher(self, student: nn.Module) -> Teacher | None:
        """Return the phase's teacher, cached and prefetching if the configuration sets `cache` and `teacher_ahead`."""
        config, data = self.config, self.data
        teacher = self.teachers.teacher(config, self.phase.number, data, student)
        if teacher is not None and config.teacher_width:
            teacher = Projected(teacher, config.teacher_width)
        if teacher is not None and config.cache:
            get_codec(config.cache_storage, self.task.outputs(data))
            refuse_changing(teacher)
            if config.cache_storage.startswith("top") and self.task.response_kind != "classes":
                raise ConfigError(
                    f"cache_storage={config.cache_storage} keeps the largest logits of classes, and the outputs are "
                    f"{self.task.response_kind}: use fp16 or int8."
                )
            if data.columns and config.cache_storage.startswith("top"):
                raise ConfigError(
                    f"cache_storage={config.cache_storage} keeps the largest of all logits, and each label column has "
                    "logits of its own here; use fp16 or int8."
                )
            settings, device = self.builder.plan.settings(self.phase), self.inputs.fabric.device
            teacher = self.builder.storage.cached(
                teacher, lambda live: with_cache(live, data, config, settings, device)
            )
        return with_prefetch(teacher, config.teacher_ahead, config.teacher_device)

    def extra_students(self) -> dict[str, Player]:
        """Return the students after the first, on the same batches."""
        result: dict[str, Player] = {}
        for name, spec in extra_students(self.config).items():
            seed = spec.get("seed", self.phase.seed)
            network = self._network(spec.get("student", self.config.student), name, None, seed)
            own = self.config.model_copy(update={"method": spec["method"]}) if "method" in spec else None
            terms = self.terms() if own is None else self.builder.terms(own)
            result[name] = Player(network, terms, self.task)
        if result:
            seed_everything(self.phase.seed)
        return result


def extra_students(config: Config) -> dict[str, ExtraStudent]:
    """Return the settings of the students after the first, by name.

    Raises: ConfigError if two have one name.
    """
    result: dict[str, ExtraStudent] = {}
    for spec in config.students:
        method = "+".join(term["name"] for term in term_specs(spec.get("method", config.method)))
        parts = [spec.get("student"), method, spec.get("seed")]
        name = re.sub(r"[^\w-]+", "-", str(spec.get("name") or "-".join(str(x) for x in parts if x is not None)))
        if name in ("student", *result):
            raise ConfigError(f"students: two are called {name!r}; give each a name of its own ({{name: …}}).")
        result[name] = spec
    return result


def build_scheme(builder: RunBuilder, phase: Phase) -> tuple[Scheme, RunSchemeContext]:
    """Build a phase's scheme; return it with the context that it was built from."""
    context = RunSchemeContext(builder, phase)
    kind = registry.find_entry("schemes", context.config.scheme_name).load()
    scheme: Scheme = kind.from_context(context, **context.config.scheme_options)
    config = context.config
    if config.term_weights is not None and scheme.method_terms().initial_state is None:
        raise ConfigError(
            f"term_weights={config.term_weights}: scheme={config.scheme_name} doesn't use the method's terms, so "
            "nothing can begin with these: remove term_weights."
        )
    return scheme, context
