"""Peers that learn from copies of each other, which are refreshed periodically."""

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
    """Each peer learns from copies of the other peers, which are refreshed every `every` batches.

    L_i = CE(z_i, y) + (1/(K−1)) Σ_{j≠i} D(z̄_j, z_i), z̄_j the logits of the copy of peer j, in eval mode.
    Paper: Anil, Pereyra, Passos, Ormandi, Dahl, Hinton. ICLR 2018. arXiv:1804.03235
    Raises: ConfigError with fewer than two peers, or if `every` is below 1.
    """

    takes_teacher: ClassVar[bool] = False
    has_peers: ClassVar[bool] = True

    def __init__(self, peers: Mapping[str, Player], every: Count = 50) -> None:
        super().__init__()
        if len(peers) < 2:
            raise ConfigError(f"codistillation needs at least two peers, got {len(peers)}.")
        self.players = nn.ModuleDict(peers)
        self.peers = dict(peers)
        self.copies = nn.ModuleDict(
            {
                name: Frozen(copy.deepcopy(peer.student.model), peer.task, view=peer.student.view)
                for name, peer in peers.items()
            }
        )
        self.every = every

    @classmethod
    def from_context(cls, context: SchemeContext, every: Count = 50) -> Codistillation:
        """Build as many peers as the run has."""
        return cls({name: context.player(k, name) for k, name in enumerate(peer_names(context))}, every)

    def wire(self, batch: Batch, samples: int) -> None:
        """Wire each peer to its neighbour, and choose the layers of each copy that the other peers' terms require."""
        wire_peers(list(self.peers.values()), batch, samples, self.provides)
        for teacher in self.copies.values():
            assert isinstance(teacher, Frozen)
            teacher.profile(batch)
        self.captured_layers: dict[str, list[str]] = {
            name: [x for peer_name, p in self.peers.items() if peer_name != name for x in p.terms.layers("teacher")]
            for name in self.peers
        }

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield one turn per peer; the turns are independent, as the copies don't change between them."""
        if step % self.every == 0:
            self.refresh_copies(step // self.every)
        teacher_outputs: dict[str, Outputs] = {
            name: teacher(batch, self.captured_layers[name]) for name, teacher in self.copies.items()
        }
        for name, player in self.players.items():
            yield name, player(batch, [outputs for peer_name, outputs in teacher_outputs.items() if peer_name != name])

    def refresh_copies(self, turn: int) -> None:
        """Copy the peers' current weights; turn: the number of earlier refreshes."""
        for teacher, peer in zip(self.copies.values(), self.peers.values(), strict=True):
            load_copy(peer.student.model.state_dict(), teacher)

    def checkpoint_state(self) -> dict[str, Any]:
        """Return the weights of the copies."""
        return {name: teacher.state_dict() for name, teacher in self.copies.items()}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Restore the weights of the copies."""
        for name, teacher in self.copies.items():
            teacher.load_state_dict(state[name])


def load_copy(weights: Mapping[str, Tensor], teacher: nn.Module) -> None:
    """Load weights and statistics into a copy."""
    assert isinstance(teacher, Frozen)
    teacher.feature_extractor.model.load_state_dict(weights)
