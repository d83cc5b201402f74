"""Networks by name, from run folders, and from earlier phases of a run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tutelage import models
from tutelage.config import stages
from tutelage.config.schema import Config
from tutelage.data.data_module import DataModule
from tutelage.data.scale import check_statistics
from tutelage.data.table_encoding import TableEncoding
from tutelage.errors import ConfigError, unknown
from tutelage.models import serialization
from tutelage.models.base import LoadedModel, ModelRequest
from tutelage.models.estimators import FittedEstimator, kinds
from tutelage.models.estimators.adapted import ESTIMATOR, adapt
from tutelage.models.estimators.first_fit import first_fit
from tutelage.models.estimators.other import OtherEstimator, load_estimator
from tutelage.models.headless import without_classifier
from tutelage.models.pretrained import load_into
from tutelage.runs.inputs import RunInputs
from tutelage.runs.loaded_network import LoadedNetwork
from tutelage.runs.plan import RunPlan
from tutelage.runs.storage import RunStorage
from tutelage.utils.key_types import Size, parse_size


class NetworkLoader:
    """Loads or makes the networks that a run's configuration names."""

    def __init__(self, inputs: RunInputs, plan: RunPlan, storage: RunStorage) -> None:
        self.inputs, self.plan, self.storage = inputs, plan, storage
        self.config, self.data = inputs.config, inputs.data

    def for_inputs(self, inputs: RunInputs) -> NetworkLoader:
        """Return the loader for other inputs, such as a stage's."""
        return self if inputs is self.inputs else NetworkLoader(inputs, self.plan, self.storage)

    def for_column(self, column: str | None) -> NetworkLoader:
        """Return the loader for one label column of the data; None for all columns."""
        inputs = self.inputs.for_column(column)
        return self if inputs is self.inputs else NetworkLoader(inputs, RunPlan(inputs), self.storage)

    def for_view(self, inputs: str | Sequence[str] | None, size: Size | None = None) -> NetworkLoader:
        """Return the loader for a model that gets these inputs, at this size; None: all, as the data has them."""
        viewed = self.inputs.for_view(inputs, size)
        return self if viewed is self.inputs else NetworkLoader(viewed, self.plan, self.storage)

    def network(
        self,
        name: Any,
        weights: str | None,
        provided: nn.Module | None = None,
        number: int = 0,
        size: Size | None = None,
        classes: Sequence[str] | None = None,
    ) -> LoadedNetwork:
        """Return a network by name, from a run folder or a stage of this run, or a copy of the provided module.

        Args:
            name: a model's name, a run folder, or `stage:NAME`.
            weights: a file of weights, or `stage:NAME`; None: those that belong to the name.
            provided: a module that is copied in place of making one.
            number: the number of the seed, which chooses among a stage's networks.
            size: the size of the network's inputs; None: the data's.
            classes: the classes that the network predicts; None: the data's.
        """
        class_names = tuple(self.data.classes if classes is None else classes)
        if stages.is_stage(weights):
            network = self._from_stage(stages.parse_stage_ref(str(weights)), number)
            return self._with_outputs_for(network, name, class_names, str(weights))
        if stages.is_stage(name):
            network = self._from_stage(stages.parse_stage_ref(name), number)
            self._refuse_other_meaning(network, class_names, name)
            return self.as_backbone(network)
        if kinds.is_fitted(name):
            classifies = self.inputs.task.response_kind == "classes"
            return self._in_own_units(first_fit(str(name), self.data, classifies), class_names)
        if isinstance(name, str) and name.startswith(ESTIMATOR):
            return self._estimator(load_estimator(name.removeprefix(ESTIMATOR)), class_names)
        if isinstance(provided, FittedEstimator | OtherEstimator):
            return self._estimator(copy.deepcopy(provided), class_names)
        if provided is not None:
            return self._from_module(copy.deepcopy(provided))
        if serialization.is_run(name):
            return self.load_run(name, class_names)
        refuse_folder(name)
        created = models.create(
            name,
            classes=self.inputs.task.outputs(self.data) if classes is None else len(classes),
            channels=self.data.channels,
            size=parse_size(size) if size else self.data.size,
            pretrained=self.config.pretrained,
            task=self.data.task,
            weights=weights,
        )
        for message in (*created.untrained, *created.notes):
            self.inputs.note(message)
        untrained = " ".join(created.untrained)
        return LoadedNetwork(created.model, created.mean, created.std, classes=class_names, untrained=untrained)

    def with_normalisation_of(self, network: LoadedNetwork, data: DataModule) -> DataModule:
        """Return the data, normalised as a network expects it; send a note where that isn't possible."""
        normalised = network.with_normalisation_of(data)
        if network.mean is not None and (normalised.mean, normalised.std) != (network.mean, network.std):
            self.inputs.note(
                f"a network expects its images normalised by mean {network.mean} and deviation {network.std}; they "
                "come "
                f"normalised already ({data.name}), and are left as they are."
            )
        return normalised

    def with_teacher_normalisation(self, network: LoadedNetwork, config: Config) -> LoadedNetwork:
        """Return a teacher's network with the normalisation of the keys `teacher_mean` and `teacher_std`.

        Raises: ConfigError if they don't fit the channels, or contradict the network or the data.
        """
        if config.teacher_mean is None:
            return network
        mean, std = (
            check_statistics(k, getattr(config, k), self.data.channels) for k in ("teacher_mean", "teacher_std")
        )
        if network.mean is not None and network.known and (network.mean, network.std) != (mean, std):
            raise ConfigError(
                f"teacher_mean={mean}, teacher_std={std}: {config.teacher} comes with another normalisation, "
                f"{network.mean} and {network.std}: leave both out."
            )
        normalised = replace(network, mean=mean, std=std, known=True)
        data = normalised.with_normalisation_of(self.data)
        if (data.mean, data.std) != (mean, std):
            raise ConfigError(
                f"teacher_mean={mean}, teacher_std={std}: the images of {self.data.name} come normalised by unknown "
                "values: set normalised=(mean, std) of the data, or leave both out."
            )
        return normalised

    def _estimator(self, estimator: FittedEstimator | OtherEstimator, classes: tuple[str, ...]) -> LoadedNetwork:
        """Return a fitted estimator as a network for this data."""
        values, columns = self.data.values, self.data.input_names or [f"x{k}" for k in range(self.data.channels)]
        mean, std = ((), ()) if values is None else (values.mean, values.std)
        return self._in_own_units(adapt(estimator, columns, classes, mean, std), classes)

    def _in_own_units(self, model: nn.Module, classes: tuple[str, ...]) -> LoadedNetwork:
        """Return a model that gets its inputs in their own units."""
        channels = self.data.channels
        return LoadedNetwork(model, (0.0,) * channels, (1.0,) * channels, classes=classes)

    def _from_module(self, model: nn.Module) -> LoadedNetwork:
        """Wrap a provided module, with what its card records if it was loaded from a run."""
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
        """Load the network of a run folder; `known`: the classes that it must have been trained on, None: any."""
        model = serialization.load(path)
        card: serialization.ModelCard = model.card  # type: ignore[assignment]
        if self.data.target == "none":
            return self.as_backbone(LoadedNetwork.from_card(model))
        if known is not None and card.classes != known:
            difference = "in another order" if sorted(card.classes) == sorted(known) else "of other classes"
            raise ConfigError(
                f"{path} was trained {difference}: it knows {join_first(card.classes)}, {self.data.name} has "
                f"{join_first(known)}; "
                "use data whose class folders or labels are the same, in the same order."
            )
        if card.channels != self.data.channels:
            raise ConfigError(f"{path} takes {card.channels} channels, {self.data.name} has {self.data.channels}.")
        self._refuse_other_inputs(path, card)
        if self.data.values is not None and (*card.values,) != self.data.values.names:
            names = ", ".join(card.values) or "no values"
            raise ConfigError(f"{path} estimates {names}, {self.data.name} has {', '.join(self.data.values.names)}.")
        return LoadedNetwork.from_card(model)

    def as_backbone(self, network: LoadedNetwork) -> LoadedNetwork:
        """Return the network without its classifier where the data has no labels: its embedding teaches."""
        if self.data.target != "none" or not network.classes:
            return network
        size = network.size or self.data.size
        request = ModelRequest("", 0, self.data.channels, size, self.data.task, None, local=True)
        return replace(network, model=without_classifier(network.model, request), classes=())

    def _refuse_other_inputs(self, path: str, card: serialization.ModelCard) -> None:
        """Refuse a network of a table whose columns are encoded as other inputs.

        Raises: ConfigError.
        """
        if not card.encoding or not self.data.encoding:
            return
        inputs = TableEncoding.from_json(card.encoding).inputs
        if inputs != self.data.input_names:
            known = self.data.input_names
            differing = [name for name in (*inputs, *known) if (name in inputs) != (name in known)] or ["the order"]
            raise ConfigError(
                f"{path} was trained on the inputs {join_first(inputs)}, and {self.data.name} has {join_first(known)} "
                f"(differing: {join_first(differing)}): use the same columns, and the same seed if a category or a "
                "missing cell is so rare that some training splits lack it."
            )

    def _from_stage(self, reference: stages.StageReference, number: int) -> LoadedNetwork:
        """Load the network that an earlier phase of this run trained."""
        config, provided = self.config, self.inputs.provided
        if reference.stage == "teacher":
            if stages.is_stage(config.teacher):
                raise ConfigError(f"teacher={config.teacher} names itself; name a model or a run folder.")
            if reference.epoch is not None and not self.plan.teacher_is_trained():
                raise ConfigError(
                    f"stage:teacher@{reference.epoch}: teacher={config.teacher} isn't trained in this run."
                )
            of_run = self.for_inputs(self.plan.inputs)
            if not self.plan.teacher_is_trained():
                return of_run.with_teacher_normalisation(
                    of_run.network(config.teacher, config.teacher_weights, provided.teacher), config
                )
            weights = config.teacher_weights
            return of_run.load_phase("teacher", config.teacher, provided.teacher, weights, reference.epoch)
        overrides = config.stage_overrides()
        if config.stages and config.baseline:
            overrides[stages.BASELINE] = config.student_overrides()
        if reference.stage not in overrides:
            raise ConfigError(unknown("stage", reference.stage, ["teacher", *overrides]))
        name = overrides[reference.stage].get("student", config.student)
        module = provided.student if name == config.student else None
        of_stage = self.for_inputs(self.plan.inputs_of_stage(reference.stage))
        return of_stage.load_phase(f"{reference.stage}-{number}", name, module, None, reference.epoch)

    def load_phase(
        self,
        phase: str,
        name: Any,
        provided: nn.Module | None,
        weights: str | None = None,
        epoch: int | None = None,
        classes: Sequence[str] | None = None,
    ) -> LoadedNetwork:
        """Return the network that a phase trained, at its end or after an epoch."""
        return self.storage.network(
            phase, epoch, provided, lambda: self._as_trained(self.network(name, weights, provided, classes=classes))
        )

    def _as_trained(self, network: LoadedNetwork) -> LoadedNetwork:
        """Return a new network as it will be after a stage on other data than the run's: normalised as these are."""
        data = self.data
        if self.inputs is self.plan.inputs or network.mean is not None:
            return network
        return replace(network, mean=data.mean, std=data.std, known=data.source_scale.known)

    def _with_outputs_for(
        self, network: LoadedNetwork, name: Any, classes: tuple[str, ...], reference: str
    ) -> LoadedNetwork:
        """Return a stage's network; if it has other outputs, classes or channels, with new layers for these.

        Raises: ModelError if its other weights don't fit the model of this name.
        """
        before = self.plan.inputs_of_stage(stages.parse_stage_ref(reference).stage)
        outputs, same_channels = self.inputs.task.outputs(self.data), before.data.channels == self.data.channels
        same_kind = before.task.response_kind == self.inputs.task.response_kind
        same_names = network.classes in (None, classes) and value_names(before.data) == value_names(self.data)
        same_outputs = same_names and before.task.outputs(before.data) == outputs
        if same_kind and same_outputs and same_channels:
            return network
        fresh = self.network(name, None, self.inputs.provided.student if name == self.config.student else None)
        loaded = load_into(LoadedModel(fresh.model, str(name)), network.model.state_dict(), outputs, reference)
        for message in (*loaded.untrained, *loaded.notes):
            self.inputs.note(message)
        own: dict[str, Any] = {"model": loaded.model, "classes": classes, "untrained": " ".join(loaded.untrained)}
        return replace(network if same_channels else fresh, **own)

    def _refuse_other_meaning(self, network: LoadedNetwork, classes: tuple[str, ...], reference: str) -> None:
        """Refuse a stage as a teacher whose outputs are as many as the data's, but mean something else.

        Raises: ConfigError that names both.
        """
        before = self.plan.inputs_of_stage(stages.parse_stage_ref(reference).stage)
        task, known = self.inputs.task, network.classes
        if self.data.target == "none" or before.task.outputs(before.data) != task.outputs(self.data):
            return  # its embedding teaches, or losses that compare outputs refuse it
        own, other = (classes or value_names(self.data)), (known or value_names(before.data))
        if before.task.response_kind != task.response_kind or (other and other != own):
            theirs = f"{before.task.response_kind} ({join_first(other) or before.data.name})"
            here = f"{task.response_kind} ({join_first(own) or self.data.name})"
            raise ConfigError(
                f"teacher={reference} outputs {theirs}, and this training's outputs are {here}: use a stage of the "
                "same classes, in the same order."
            )

    def first_terms(self, name: str | None, number: int) -> dict[str, Tensor] | None:
        """Return the state of the terms that an earlier stage left; None if no stage is named."""
        if name is None:
            return None
        stage = stages.parse_stage_ref(name).stage
        if stage not in (overrides := self.config.stage_overrides()):
            raise ConfigError(unknown("stage", stage, overrides))
        return self.storage.terms(f"{stage}-{number}")


def refuse_folder(name: str) -> None:
    """Refuse the path of a folder that holds no run; a model may have the name of a folder that happens to exist."""
    if ("/" in name or name.startswith(".")) and Path(name).is_dir():
        raise ConfigError(
            f"{name} is a folder and holds no run: there is neither student.safetensors nor config.yaml with "
            "environment.json in it; give a run folder, or a model's name."
        )


def value_names(data: DataModule) -> tuple[str, ...]:
    """Return the names of the values to estimate; () without any."""
    return () if data.values is None else tuple(data.values.names)


def join_first(names: Sequence[str]) -> str:
    """Return the first names, and how many there are."""
    return ", ".join(names[:4]) + (f", … ({len(names)})" if len(names) > 4 else "")
