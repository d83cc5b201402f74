"""A teacher that is already there."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any

from torch import nn

from tutelage.objective.player import Player
from tutelage.schemes.base import Scheme, SchemeContext, Turn, unwrap
from tutelage.structures import Batch
from tutelage.teachers.base import Teacher


class Offline(Scheme):
    """Students, and a teacher that answers each batch once for all of them; without one they learn by themselves.

    students: one player, or several by name, which share the batches and the teacher and nothing else.
    """

    def __init__(self, students: Player | Mapping[str, Player], teacher: Teacher | None = None) -> None:
        super().__init__()
        self.players = nn.ModuleDict({"student": students} if isinstance(students, Player) else dict(students))
        self.teacher = teacher
        self.layers: tuple[str, ...] = ()

    @classmethod
    def from_context(cls, parts: SchemeContext) -> Offline:
        """The student, those beside it, and the teacher."""
        network = parts.network()
        teacher = parts.teacher(network)
        first = {"student": Player(network, parts.terms(), parts.task)}
        return cls(first | parts.extra_students(), teacher)

    def wire(self, batch: Batch, samples: int) -> None:
        """Pair the layers, size the connectors, hear the teacher once."""
        players = [unwrap(player) for player in self.players.values()]
        profile = None if self.teacher is None else self.teacher.profile(batch)
        for player in players:
            player.wire(profile, batch, samples, self.provides)
        asked = {
            layer: all(p.terms.sees_vector(layer) for p in players) for p in players for layer in p.teacher_layers()
        }
        self.layers = tuple(asked)
        if self.teacher is not None:
            members = any(player.terms.needs_member_outputs() for player in players)
            self.teacher.prepare_for(self.layers, [layer for layer, vector in asked.items() if vector], members)
            self.teacher(batch, self.layers)  # taps its layers, and shows at once whether it can answer

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Each student's turn."""
        teacher_outputs = None if self.teacher is None else self.teacher(batch, self.layers)
        for name, player in self.players.items():
            yield name, player(batch, teacher_outputs)

    def lookahead(self, batches: Generator[Batch]) -> Generator[Batch]:
        """Let the teacher look ahead, if it does."""
        return batches if self.teacher is None else self.teacher.lookahead(batches, self.layers)

    def after_step(self) -> None:
        """Tell the teacher."""
        if self.teacher is not None:
            self.teacher.after_step()

    def checkpoint_state(self) -> dict[str, Any]:
        """The teacher's."""
        return {} if self.teacher is None else self.teacher.checkpoint_state()

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Give the teacher its state back."""
        if self.teacher is not None:
            self.teacher.load_checkpoint_state(state)
