"""Distillation from a teacher that exists before training."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.nn.feature_extractor import eval_no_grad
from tutelage.objective.player import Player
from tutelage.schemes.base import Scheme, SchemeContext, Turn, unwrap
from tutelage.structures import Batch
from tutelage.teachers.base import Teacher


class Offline(Scheme):
    """One or several students, and a teacher that is run once per batch; without a teacher, supervised training.

    Args:
        students: one player, or several by name, which share the batches and the teacher's outputs and nothing else.
        teacher: the teacher, or None.

    Example:
        >>> import torch
        >>> from tutelage import Batch, Classification, Frozen, KD, Offline, Player, Terms, models
        >>> task = Classification()
        >>> teacher = Frozen(models.create("cnn8", classes=10, channels=1).model, task)
        >>> terms = Terms.from_method(KD(4), task.task_loss())
        >>> scheme = Offline(Player(models.create("cnn2", classes=10, channels=1).model, terms, task), teacher)
        >>> batch = Batch(torch.randn(4, 1, 8, 8), torch.arange(4))
        >>> scheme.wire(batch, samples=100)
        >>> [(player, sorted(losses)) for player, losses in scheme.turns(batch, step=0)]
        [('student', ['ce', 'kd'])]
    """

    def __init__(self, students: Player | Mapping[str, Player], teacher: Teacher | None = None) -> None:
        super().__init__()
        self.players = nn.ModuleDict({"student": students} if isinstance(students, Player) else dict(students))
        self.teacher = teacher
        self.layers: tuple[str, ...] = ()

    @classmethod
    def from_context(cls, context: SchemeContext) -> Offline:
        """Build the student, the additional students, and the teacher."""
        network = context.network()
        teacher = context.teacher(network)
        first = {"student": Player(network, context.terms(), context.task)}
        return cls(first | context.extra_students(), teacher)

    def wire(self, batch: Batch, samples: int) -> None:
        """Pair the layers, size the connectors, and run the teacher once."""
        players = [unwrap(player) for player in self.players.values()]
        profile = None if self.teacher is None else self.teacher.profile(batch)
        for player in players:
            player.wire(profile, batch, samples, self.provides)
        vector_only = {
            layer: all(p.terms.averages_layer(layer) for p in players) for p in players for layer in p.teacher_layers()
        }
        self.layers = tuple(vector_only)
        if self.teacher is not None:
            members = any(player.terms.needs_member_outputs() for player in players)
            self.teacher.prepare_for(
                self.layers, [layer for layer, is_vector in vector_only.items() if is_vector], members
            )
            self.teacher(batch, self.layers)  # captures its layers, and fails now rather than in training

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield each student's turn."""
        teacher_outputs = None if self.teacher is None else self.teacher(batch, self.layers)
        for name, player in self.players.items():
            yield name, player(batch, teacher_outputs)

    def evaluate_losses(self, batches: Iterable[Batch], fabric: Any = None) -> dict[str, float]:
        """Return the first student's mean losses on these batches in eval mode, and their sum."""
        player: Player = unwrap(next(iter(self.players.values())))
        rows: list[dict[str, Tensor]] = []
        counts: list[int] = []
        with eval_no_grad(player):
            for batch in batches:
                teacher_outputs = None if self.teacher is None else self.teacher(batch, self.layers)
                rows.append(player(batch, teacher_outputs))
                counts.append(len(batch))
        sums = torch.stack([
            torch.stack([values.float() for values in row.values()]) * count
            for row, count in zip(rows, counts, strict=True)
        ]).sum(0)  # fmt: skip
        totals = torch.cat([sums, sums.new_tensor([float(sum(counts))])])
        if fabric is not None:
            totals = fabric.all_reduce(totals, reduce_op="sum")
        means = dict(zip(rows[0], (totals[:-1] / totals[-1]).tolist(), strict=True))
        return {f"{name}_loss": mean for name, mean in means.items()} | {"embedding_loss": sum(means.values())}

    def prefetch(self, batches: Generator[Batch]) -> Generator[Batch]:
        """Yield the batches, which the teacher may read ahead."""
        return batches if self.teacher is None else self.teacher.prefetch(batches, self.layers)

    def after_step(self) -> None:
        """Update the teacher after the students' step."""
        if self.teacher is not None:
            self.teacher.after_step()

    def checkpoint_state(self) -> dict[str, Any]:
        """Return the teacher's state."""
        return {} if self.teacher is None else self.teacher.checkpoint_state()

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Restore the teacher's state."""
        if self.teacher is not None:
            self.teacher.load_checkpoint_state(state)
