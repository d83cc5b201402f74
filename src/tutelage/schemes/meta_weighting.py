"""A teacher whose layers' weights, in what the student learns, are learned beside it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.nn.connectors import as_vector
from tutelage.objective.player import AuxiliaryPlayer, Player
from tutelage.schemes.base import Turn, unwrap
from tutelage.schemes.lookahead import LookaheadStudent, Rate, detach_except
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher


class WeightNetwork(AuxiliaryPlayer):
    """Abstract: a player that says, from the teacher's features, how much pairs of layers count; it is no student.

    forward(features (B, C) by the teacher's layer) → the inputs that its scheme `provides`.
    Raises: ConfigError if the learning rate of its AdamW is negative.
    """

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.own_settings = {"optimizer": "adamw", "lr": lr, "weight_decay": 0.0, "dot": 0.0}

    @abstractmethod
    def build(self, students: int, widths: list[int]) -> None:
        """Make its parameters for so many layers of the student, and the teacher's of these widths."""


class MetaWeighted(Offline):
    """Abstract: the weights learn from the error of the student a few steps ahead; then the student learns by them."""

    def __init__(self, student: Player, teacher: Teacher | None, weights: WeightNetwork, rate: Rate) -> None:
        super().__init__(student, teacher)
        self.weights_of, self.rate = weights, rate
        self.taught: tuple[str, ...] = ()

    def wire(self, batch: Batch, samples: int) -> None:
        """Pair the layers, size the connectors, then the weights.

        Raises: ConfigError if there isn't just one term that asks for them.
        """
        super().wire(batch, samples)
        terms = unwrap(self.players["student"]).terms.named()
        asking = [term for term in terms.values() if set(self.provides) <= set(term.loss.required_inputs())]
        if len(asking) != 1:
            raise ConfigError(
                f"scheme={self.name}: {len(asking)} terms of the method take the weights that it learns, expected one: "
                f"method={self.name}."
            )
        self.heard = asking[0].teacher_layers
        self.taught = tuple(name for name, term in terms.items() if term.loss.needs_teacher)
        assert self.teacher is not None
        teacher_outputs = self.teacher(batch, self.layers)
        vectors = self._vectors(teacher_outputs)
        self.weights_of.build(len(asking[0].student_layers), [x.shape[1] for x in vectors])
        self.players["weights"] = self.weights_of.to(vectors[0])
        self._lesson(batch, teacher_outputs, 0)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """The weights' turn, then the student's, by what they are after their own."""
        assert self.teacher is not None
        teacher_outputs = self.teacher(batch, self.layers)
        yield "weights", {"ahead": self._lesson(batch, teacher_outputs, step)}
        with torch.no_grad():
            weighed = self._weighed(batch, teacher_outputs)
        yield "student", self.players["student"](weighed, teacher_outputs)

    @abstractmethod
    def ahead_of(self, virtual: LookaheadStudent, batch: Batch, teacher_outputs: Outputs, step: int) -> Tensor:
        """The student's error after the steps that it doesn't take."""

    def _lesson(self, batch: Batch, teacher_outputs: Outputs, step: int) -> Tensor:
        """The same, with a gradient to the weights alone."""
        error = self.ahead_of(
            LookaheadStudent(unwrap(self.players["student"])),
            self._weighed(batch, teacher_outputs),
            teacher_outputs,
            step,
        )
        return detach_except(error, self.weights_of.parameters())

    def of_teacher(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The sum of the terms that need the teacher."""
        return torch.stack([losses[name] for name in self.taught]).sum()

    def _weighed(self, batch: Batch, teacher_outputs: Outputs) -> Batch:
        asks: dict[str, Any] = self.weights_of(self._vectors(teacher_outputs))
        return replace(batch, extras=batch.extras | asks)

    def _vectors(self, teacher_outputs: Outputs) -> list[Tensor]:
        return [as_vector(teacher_outputs[layer]) for layer in self.heard]
