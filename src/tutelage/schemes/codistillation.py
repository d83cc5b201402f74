"""Peers that learn from each other's older selves."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.objective.player import Player
from tutelage.schemes.base import Scheme, SchemeContext, Turn, peer_names
from tutelage.schemes.peers import wire_peers
from tutelage.structures import Batch, Outputs
from tutelage.teachers.frozen import Frozen
from tutelage.utils.options import Count


class Codistillation(Scheme):
    """Each peer learns from copies of the others, which are taken anew every `every` batches.

    L_i = CE(z_i, y) + (1/(K−1)) Σ_{j≠i} D(z̄_j, z_i), z̄_j what the copy of peer j says, in eval mode.
    Paper: Anil, Pereyra, Passos, Ormandi, Dahl, Hinton. ICLR 2018. arXiv:1804.03235
    Raises: ConfigError with fewer than two peers, or if `every` is below 1.
    """

    takes_teacher: ClassVar[bool] = False

    def __init__(self, peers: Mapping[str, Player], every: Count = 50) -> None:
        super().__init__()
        if len(peers) < 2:
            raise ConfigError(f"codistillation needs at least two peers, {len(peers)} given.")
        self.players = nn.ModuleDict(peers)
        self.peers = dict(peers)
        self.copies = nn.ModuleDict(
            {name: Frozen(copy.deepcopy(peer.student.model), peer.task) for name, peer in peers.items()}
        )
        self.every = every

    @classmethod
    def from_context(cls, parts: SchemeContext, every: Count = 50) -> Codistillation:
        """As many peers as the run has."""
        return cls({name: parts.player(k, name) for k, name in enumerate(peer_names(parts))}, every)

    def wire(self, batch: Batch, samples: int) -> None:
        """Wire each peer to its neighbour."""
        wire_peers(list(self.peers.values()), batch, samples, self.provides)
        for teacher in self.copies.values():
            assert isinstance(teacher, Frozen)
            teacher.profile(batch)
        self.heard: dict[str, list[str]] = {
            name: [layer for other, p in self.peers.items() if other != name for layer in p.terms.layers("teacher")]
            for name in self.peers
        }

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """A turn for each; nobody waits for anybody."""
        if step % self.every == 0:
            self.renew(step // self.every)
        teacher_outputs: dict[str, Outputs] = {
            name: teacher(batch, self.heard[name]) for name, teacher in self.copies.items()
        }
        for name, player in self.players.items():
            yield name, player(batch, [outputs for other, outputs in teacher_outputs.items() if other != name])

    def renew(self, turn: int) -> None:
        """Take the copies anew, for the so manieth time."""
        for teacher, peer in zip(self.copies.values(), self.peers.values(), strict=True):
            copied(peer.student.model.state_dict(), teacher)

    def checkpoint_state(self) -> dict[str, Any]:
        """The copies."""
        return {name: teacher.state_dict() for name, teacher in self.copies.items()}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Take them back."""
        for name, teacher in self.copies.items():
            teacher.load_state_dict(state[name])


def copied(weights: Mapping[str, Tensor], teacher: nn.Module) -> None:
    """Give a copy these weights and statistics."""
    assert isinstance(teacher, Frozen)
    teacher.tapped.model.load_state_dict(weights)
