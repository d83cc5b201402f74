"""Peers that teach each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from tutelage.errors import ConfigError
from tutelage.player import Peers, Player
from tutelage.schemes.base import Parts, Scheme, Turn, bare
from tutelage.values import Batch


class Mutual(Scheme):
    """Peers learn together, each from the others' answers; each has its own optimiser and ends in its own file.

    L_i = CE(z_i, y) + (1/(K−1)) Σ_{j≠i} KL(p_j ‖ p_i), with p_j constant.
    Paper: Zhang, Xiang, Hospedales, Lu. CVPR 2018. arXiv:1706.00384; peers answer at the same time, as in the authors'
    code (their algorithm 1 refreshes the answers after each peer's update). Published code sums over peers.
    Raises: ConfigError with fewer than two peers.
    """

    takes_teacher = False

    def __init__(self, peers: Mapping[str, Player]) -> None:
        super().__init__()
        if len(peers) < 2:
            raise ConfigError(f"mutual learning needs at least two peers, {len(peers)} given.")
        self.players = nn.ModuleDict({"peers": Peers(peers)})

    @classmethod
    def of(cls, parts: Parts) -> Mutual:
        """As many peers as the run has."""
        count = parts.config.peers if isinstance(parts.config.peers, int) else len(parts.config.peers)
        return cls({name: parts.player(k, name) for k in range(count) for name in (f"peer{k}",)})

    def wire(self, batch: Batch, samples: int) -> None:
        """Wire each peer to its neighbour."""
        bare(self.players["peers"]).wire(batch, samples)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """One turn for all."""
        yield "peers", self.players["peers"](batch)
