"""Players that teach each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.nn.model_profile import profile_model
from tutelage.objective.player import Player
from tutelage.structures import Batch, Outputs


class Peers(nn.Module):
    """Players that teach each other: one forward each; each one's terms get the others' outputs as constants.

    forward(batch) → {"peer/term": weighted scalar}: with K peers, the mean over the K − 1 others. Each peer has an
    optimiser of its own; since the others' outputs are constants, one backward of the sum serves all.
    """

    def __init__(self, players: Mapping[str, Player]) -> None:
        super().__init__()
        self.players = nn.ModuleDict(players)

    def peers(self) -> dict[str, Player]:
        """Return the players by name."""
        return {name: cast(Player, player) for name, player in self.players.items()}

    def wire(self, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Wire each peer's terms to its neighbour."""
        wire_peers(list(self.peers().values()), batch, samples, provides)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted terms of all peers."""
        return self.taught({name: player.forward_student(batch) for name, player in self.peers().items()}, batch)

    def taught(self, student_outputs: dict[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        """Return the weighted terms of the peers' outputs."""
        losses: dict[str, Tensor] = {}
        for name, player in self.peers().items():
            others = [student_outputs[peer].detach() for peer in student_outputs if peer != name]
            losses |= {
                f"{name}/{term}": value
                for term, value in player.compare_with_each(student_outputs[name], others, batch).items()
            }
        return losses

    def optimised_modules(self) -> dict[str, nn.Module]:
        """Return each peer."""
        return dict(self.players.items())

    def students(self) -> dict[str, FeatureExtractor]:
        """Return each peer's network."""
        return {name: player.student for name, player in self.peers().items()}


def wire_peers(players: Sequence[Player], batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
    """Wire each player's terms to its neighbour, and let it capture the layers that the others' terms compare."""
    profiles = [profile_model(player.student.model, player.student.select(batch)) for player in players]
    for i, player in enumerate(players):
        others = profiles[:i] + profiles[i + 1 :]
        player.wire(replace(profiles[i - 1], member_profiles=others), batch, samples, provides)
    for player in players:
        player.set_captured_layers(
            [layer for other in players if other is not player for layer in other.terms.layers("teacher")]
        )
