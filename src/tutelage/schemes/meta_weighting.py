"""Networks that weight the layers of the teacher, and learn alongside the student."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.nn.connectors import as_map
from tutelage.nn.maps import average_positions
from tutelage.objective.player import AuxiliaryPlayer, Player
from tutelage.schemes.base import Turn, unwrap
from tutelage.schemes.lookahead import LookaheadStudent, Rate, detach_except
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher


class WeightNetwork(AuxiliaryPlayer):
    """Abstract: an auxiliary player that computes the weights of layer pairs from the teacher's features.

    forward(features (B, C), one per layer of the teacher) → the inputs that its scheme `provides`.
    Raises: ConfigError if the learning rate of its AdamW is negative.
    """

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.own_settings = {"optimizer": "adamw", "lr": lr, "weight_decay": 0.0, "dot": 0.0}

    @abstractmethod
    def build(self, students: int, widths: list[int]) -> None:
        """Create the parameters.

        Args:
            students: the number of the student's layers.
            widths: the width of each layer of the teacher.
        """


class MetaWeighted(Offline):
    """Abstract: the weights minimise the student's loss after lookahead steps; then the student learns with them."""

    def __init__(self, student: Player, teacher: Teacher | None, weights: WeightNetwork, rate: Rate) -> None:
        super().__init__(student, teacher)
        self.weight_network, self.rate = weights, rate
        self.distillation_terms: tuple[str, ...] = ()

    def wire(self, batch: Batch, samples: int) -> None:
        """Pair the layers, size the connectors, then build the weight network.

        Raises: ConfigError if not exactly one term requires the weights.
        """
        super().wire(batch, samples)
        terms = unwrap(self.players["student"]).terms.named_terms()
        weighted_terms = [term for term in terms.values() if set(self.provides) <= set(term.loss.required_inputs())]
        if len(weighted_terms) != 1:
            raise ConfigError(
                f"scheme={self.name}: {len(weighted_terms)} terms of the method require the weights that it learns, "
                f"expected 1: use method={self.name}."
            )
        self.weighted_layers = weighted_terms[0].teacher_layers
        self.distillation_terms = tuple(name for name, term in terms.items() if term.loss.needs_teacher)
        assert self.teacher is not None
        teacher_outputs = self.teacher(batch, self.layers)
        vectors = self._vectors(teacher_outputs)
        self.weight_network.build(len(weighted_terms[0].student_layers), [x.shape[1] for x in vectors])
        self.players["weights"] = self.weight_network.to(vectors[0])
        self._meta_loss(batch, teacher_outputs, 0)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield the weights' turn, then the student's with the updated weights."""
        assert self.teacher is not None
        teacher_outputs = self.teacher(batch, self.layers)
        yield "weights", {"ahead": self._meta_loss(batch, teacher_outputs, step)}
        with torch.no_grad():
            weighted = self._weighted_batch(batch, teacher_outputs)
        yield "student", self.players["student"](weighted, teacher_outputs)

    @abstractmethod
    def lookahead_loss(self, lookahead: LookaheadStudent, batch: Batch, teacher_outputs: Outputs, step: int) -> Tensor:
        """Return the student's loss after lookahead steps."""

    def _meta_loss(self, batch: Batch, teacher_outputs: Outputs, step: int) -> Tensor:
        """Return the lookahead loss, with a gradient to the weights alone."""
        loss = self.lookahead_loss(
            LookaheadStudent(unwrap(self.players["student"])),
            self._weighted_batch(batch, teacher_outputs),
            teacher_outputs,
            step,
        )
        return detach_except(loss, self.weight_network.parameters())

    def distillation_loss(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the terms that need the teacher."""
        return torch.stack([losses[name] for name in self.distillation_terms]).sum()

    def _weighted_batch(self, batch: Batch, teacher_outputs: Outputs) -> Batch:
        weights: dict[str, Any] = self.weight_network(self._vectors(teacher_outputs))
        return replace(batch, extras=batch.extras | weights)

    def _vectors(self, teacher_outputs: Outputs) -> list[Tensor]:
        return [average_positions(as_map(teacher_outputs[layer])) for layer in self.weighted_layers]
