"""What optimisers train: students with their terms. The trainer wraps players, so DDP sees just what a loss reaches."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.nn.feature_extractor import FeatureExtractor, apply_model
from tutelage.nn.model_profile import ModelProfile, first
from tutelage.objective.terms import Terms
from tutelage.structures import Batch, Outputs
from tutelage.tasks.base import Task


class Player(nn.Module):
    """A student with its terms (and their connectors and banks): one optimiser's parameters.

    forward(batch, told) → {term: weighted scalar}, where told is what the teacher said, computed outside.
    """

    def __init__(self, model: nn.Module, terms: Terms, task: Task) -> None:
        super().__init__()
        self.student = FeatureExtractor(model)
        self.terms = terms
        self.task = task
        self.metadata: dict[str, Any] = {}

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int) -> None:
        """Choose layers and size connectors from one example; to be called before the optimiser is made.

        Raises: ModelError or ConfigError if what is compared depends on nothing trainable.
        """
        profile = ModelProfile(self.student.model, batch)
        profile.response = self.task.response(profile.response, batch)
        self.terms.wire(profile, teacher, batch, samples)
        self.terms.refuse_frozen(profile)
        self.metadata = profile.metadata
        self.set_captured_layers()

    def set_captured_layers(self, captured: Sequence[str] = ()) -> None:
        """Capture the layers that its terms ask for, and those that others hear."""
        self.student = FeatureExtractor(self.student.close(), (*self.terms.layers("student"), *captured))

    def teacher_layers(self) -> tuple[str, ...]:
        """The teacher's layers that it asks for."""
        return self.terms.layers("teacher")

    def forward_student(self, batch: Batch) -> Outputs:
        """What the student says of a batch, with the features that its terms ask for."""
        student_outputs = self.student(batch.inputs)
        return Outputs(self.task.response(student_outputs.response, batch), student_outputs.features, self.metadata)

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """Each term's weighted scalar; of a list of teachers, which teach one by one, its mean over them."""
        student_outputs = self.forward_student(batch)
        return (
            self.among(student_outputs, teacher_outputs, batch)
            if isinstance(teacher_outputs, list)
            else self.compare(student_outputs, teacher_outputs, batch)
        )

    def among(self, student_outputs: Outputs, others: list[Outputs], batch: Batch) -> dict[str, Tensor]:
        """Each term's mean over the others; a loss that takes a list gets all of them, or what one lists itself."""
        losses: dict[str, Tensor] = {}
        for other in others:
            for term, value in self.compare(
                student_outputs, replace(other, members=other.members or others), batch
            ).items():
                losses[term] = losses.get(term, 0) + value / len(others)
        return losses

    def compare(self, student_outputs: Outputs, teacher_outputs: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """The terms of what was said and told, in float32 also under autocast."""
        with torch.autocast(student_outputs.response.device.type, enabled=False):
            return self.terms(student_outputs, teacher_outputs, batch, self.task.mask(batch))

    def optimised(self) -> dict[str, nn.Module]:
        """What gets an optimiser of its own, by name."""
        return {"": self}

    def students(self) -> dict[str, FeatureExtractor]:
        """The networks that the run is for, by name."""
        return {"student": self.student}


class AuxiliaryPlayer(nn.Module):
    """Abstract: what an optimiser trains beside the students, and which is none of them."""

    def optimised(self) -> dict[str, nn.Module]:
        """All of it."""
        return {"": self}

    def students(self) -> dict[str, FeatureExtractor]:
        """None."""
        return {}


class Peers(nn.Module):
    """Players that teach each other: each says once, and each one's terms get what the others said, as constants.

    forward(batch) → {"peer/term": weighted scalar}: with K peers, the mean over the K − 1 others. Each peer has an
    optimiser of its own; since the others' answers are constants, one backward of the sum serves all.
    """

    def __init__(self, players: Mapping[str, Player]) -> None:
        super().__init__()
        self.players = nn.ModuleDict(players)

    def peers(self) -> dict[str, Player]:
        """The players by name."""
        return {name: cast(Player, player) for name, player in self.players.items()}

    def wire(self, batch: Batch, samples: int) -> None:
        """Wire each peer's terms to its neighbour."""
        wire_peers(list(self.peers().values()), batch, samples)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Every peer's weighted terms."""
        return self.taught({name: player.forward_student(batch) for name, player in self.peers().items()}, batch)

    def taught(self, student_outputs: dict[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        """The terms of what each has said."""
        losses: dict[str, Tensor] = {}
        for name, player in self.peers().items():
            others = [student_outputs[peer].detach() for peer in student_outputs if peer != name]
            losses |= {
                f"{name}/{term}": value for term, value in player.among(student_outputs[name], others, batch).items()
            }
        return losses

    def optimised(self) -> dict[str, nn.Module]:
        """Each peer."""
        return dict(self.players.items())

    def students(self) -> dict[str, FeatureExtractor]:
        """Each peer's network."""
        return {name: player.student for name, player in self.peers().items()}


def refuse_single(students: Mapping[str, FeatureExtractor], batch: Batch, batch_size: int) -> None:
    """Refuse batches of one sample where a norm over the batch can't do with that.

    Raises: ConfigError that names the student and the key.
    """
    if batch_size > 1:
        return
    for name, student in students.items():
        try:
            with torch.no_grad():
                apply_model(copy.deepcopy(student.model).train(), first(batch.inputs, 1))
        except ValueError as error:
            raise ConfigError(
                f"batch_size: one sample a batch and process, and {name} has a norm over the batch ({error}); use 2 "
                "or more."
            ) from error


def wire_peers(players: Sequence[Player], batch: Batch, samples: int) -> None:
    """Wire each one's terms to its neighbour, and let it capture what the others hear of it."""
    profiles = [ModelProfile(player.student.model, batch) for player in players]
    for i, player in enumerate(players):
        neighbour = copy.copy(profiles[i - 1])
        neighbour.members = profiles[:i] + profiles[i + 1 :]
        player.wire(neighbour, batch, samples)
    for player in players:
        player.set_captured_layers(
            [layer for other in players if other is not player for layer in other.terms.layers("teacher")]
        )
