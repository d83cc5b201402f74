"""A teacher that is already there."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from torch import nn

from tutelage.player import Player
from tutelage.schemes.base import Scheme, Turn, bare
from tutelage.teachers.base import Teacher
from tutelage.values import Batch


class Offline(Scheme):
    """One student learns from a teacher, or from the ground truth alone if there is none."""

    def __init__(self, player: Player, teacher: Teacher | None = None) -> None:
        super().__init__()
        self.players = nn.ModuleDict({"student": player})
        self.teacher = teacher
        self.layers: tuple[str, ...] = ()

    def wire(self, batch: Batch, samples: int) -> None:
        """Pair the layers, size the connectors, hear the teacher once."""
        player = bare(self.players["student"])
        player.wire(None if self.teacher is None else self.teacher.look(batch), batch, samples)
        self.layers = player.terms.layers("teacher")
        if self.teacher is not None:
            self.teacher(batch, self.layers)  # taps its layers, and shows at once whether it can answer

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """The student's one turn."""
        told = None if self.teacher is None else self.teacher(batch, self.layers)
        yield "student", self.players["student"](batch, told)

    def ahead(self, batches: Generator[Batch]) -> Generator[Batch]:
        """Let the teacher look ahead, if it does."""
        return batches if self.teacher is None else self.teacher.ahead(batches, self.layers)

    def after_step(self) -> None:
        """Tell the teacher."""
        if self.teacher is not None:
            self.teacher.after_step()

    def memory(self) -> dict[str, Any]:
        """The teacher's."""
        return {} if self.teacher is None else self.teacher.memory()

    def recall(self, memory: dict[str, Any]) -> None:
        """Give the teacher its memory back."""
        if self.teacher is not None:
            self.teacher.recall(memory)
