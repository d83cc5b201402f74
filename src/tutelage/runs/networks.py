"""Networks by name, of run folders, and as earlier phases of a run left them."""

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
from tutelage.errors import ConfigError, unknown
from tutelage.models import serialization
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

    def for_column(self, column: str | None) -> NetworkLoader:
        """Return the loader for one label column of the data; None for all columns."""
        inputs = self.inputs.for_column(column)
        return self if inputs is self.inputs else NetworkLoader(inputs, RunPlan(inputs), self.storage)

    def network(
        self,
        name: Any,
        weights: str | None,
        provided: nn.Module | None = None,
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
        if provided is not None:
            return self._of_object(copy.deepcopy(provided))
        if serialization.is_run(name):
            return self.load_run(name, known)
        refuse_folder(name)
        made = models.create(
            name,
            classes=len(known),
            channels=self.data.channels,
            size=parse_size(size) if size else self.data.size,
            pretrained=self.config.pretrained,
            task=self.data.task,
            weights=weights,
        )
        for message in (*made.untrained, *made.notes):
            self.inputs.note(message)
        return LoadedNetwork(made.model, made.mean, made.std, classes=known, untrained=" ".join(made.untrained))

    def with_normalisation_of(self, network: LoadedNetwork, data: DataModule) -> DataModule:
        """The data as a network wants it; says so where it can't be had."""
        normalised = network.with_normalisation_of(data)
        if network.mean is not None and (normalised.mean, normalised.std) != (network.mean, network.std):
            self.inputs.note(
                f"a network wants its images normalised by mean {network.mean} and deviation {network.std}; they come "
                f"normalised already ({data.name}), and are left as they are."
            )
        return normalised

    def with_teacher_normalisation(self, network: LoadedNetwork, config: Config) -> LoadedNetwork:
        """A teacher's network with the normalisation that `teacher_mean` and `teacher_std` say.

        Raises: ConfigError if they don't fit the channels, or if the network or the data says otherwise.
        """
        if config.teacher_mean is None:
            return network
        mean, std = (
            check_statistics(k, getattr(config, k), self.data.channels) for k in ("teacher_mean", "teacher_std")
        )
        if network.mean is not None and network.known and (network.mean, network.std) != (mean, std):
            raise ConfigError(
                f"teacher_mean={mean}, teacher_std={std}: {config.teacher} says itself that its images are normalised "
                f"by {network.mean} and {network.std}: leave both out."
            )
        normalised = replace(network, mean=mean, std=std, known=True)
        own = normalised.with_normalisation_of(self.data)
        if (own.mean, own.std) != (mean, std):
            raise ConfigError(
                f"teacher_mean={mean}, teacher_std={std}: the images of {self.data.name} come normalised, and nobody "
                "said by what: say normalised=(mean, std) of the data, or leave both out."
            )
        return normalised

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
                f"{path} was trained {how}: it knows {join_first(card.classes)}, {self.data.name} has "
                f"{join_first(known)}; "
                "use data whose class folders or labels are the same, in the same order."
            )
        if card.channels != self.data.channels:
            raise ConfigError(f"{path} takes {card.channels} channels, {self.data.name} has {self.data.channels}.")
        return LoadedNetwork.from_card(model)

    def _of_stage(self, left: stages.StageReference, number: int) -> LoadedNetwork:
        """What a phase of this run has left."""
        config, provided = self.config, self.inputs.provided
        if left.stage == "teacher":
            if stages.is_stage(config.teacher):
                raise ConfigError(f"teacher={config.teacher} names itself; name a model or a run folder.")
            if left.epoch is not None and not self.plan.teacher_is_trained():
                raise ConfigError(f"stage:teacher@{left.epoch}: teacher={config.teacher} isn't trained in this run.")
            if not self.plan.teacher_is_trained():
                return self.with_teacher_normalisation(
                    self.network(config.teacher, config.teacher_weights, provided.teacher), config
                )
            return self.load_phase("teacher", config.teacher, provided.teacher, config.teacher_weights, left.epoch)
        overrides = config.stage_overrides()
        if config.stages and config.baseline:
            overrides[stages.BASELINE] = config.student_overrides()
        if left.stage not in overrides:
            raise ConfigError(unknown("stage", left.stage, ["teacher", *overrides]))
        name = overrides[left.stage].get("student", config.student)
        own = provided.student if name == config.student else None
        return self.load_phase(f"{left.stage}-{number}", name, own, None, left.epoch)

    def load_phase(
        self,
        phase: str,
        name: Any,
        provided: nn.Module | None,
        weights: str | None = None,
        epoch: int | None = None,
        classes: Sequence[str] | None = None,
    ) -> LoadedNetwork:
        """Return what a phase left, at its end or after an epoch."""
        return self.storage.network(
            phase, epoch, provided, lambda: self.network(name, weights, provided, classes=classes)
        )

    def first_terms(self, name: str | None, number: int) -> dict[str, Tensor] | None:
        """Return the state of the terms that an earlier stage left; None if no stage is named."""
        if name is None:
            return None
        stage = stages.parse_stage_ref(name).stage
        if stage not in (known := self.config.stage_overrides()):
            raise ConfigError(unknown("stage", stage, known))
        return self.storage.terms(f"{stage}-{number}")


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
