"""Deep mutual learning: peers that teach each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from tutelage.errors import ConfigError
from tutelage.objective.player import Player
from tutelage.schemes.base import Scheme, SchemeContext, Turn, peer_names, unwrap
from tutelage.schemes.peers import Peers, wire_peers
from tutelage.structures import Batch, Outputs


class Mutual(Scheme):
    """Peers learn from each other's logits; each peer has its own optimiser and is saved to its own file.

    L_i = CE(z_i, y) + (1/(K−1)) Σ_{j≠i} KL(p_j ‖ p_i), with p_j constant.

    Args:
        sequential: update one peer after the other, each from the logits of the earlier peers after their update, as in
            the paper's algorithm 1. This takes 2 (K − 1) more forwards per batch, each of which updates the batch
            norms' statistics. False: all peers run, and learn, simultaneously, as in the authors' code, which sums over
            peers.

    Paper: Zhang, Xiang, Hospedales, Lu. CVPR 2018. arXiv:1706.00384
    Raises: ConfigError with fewer than two peers.

    Example:
        >>> import torch
        >>> from tutelage import Batch, Classification, DML, Mutual, Player, Terms, models
        >>> task = Classification()
        >>> def player():
        ...     network = models.create("cnn2", classes=10, channels=1).model
        ...     return Player(network, Terms.from_method(DML(), task.task_loss()), task)
        >>> scheme = Mutual({"peer0": player(), "peer1": player()})
        >>> batch = Batch(torch.randn(4, 1, 8, 8), torch.arange(4))
        >>> scheme.wire(batch, samples=100)
        >>> [sorted(losses) for _, losses in scheme.turns(batch, step=0)]
        [['peer0/ce', 'peer0/dml', 'peer1/ce', 'peer1/dml']]
    """

    takes_teacher = False
    has_peers = True

    def __init__(self, peers: Mapping[str, Player], sequential: bool = False) -> None:
        super().__init__()
        if len(peers) < 2:
            raise ConfigError(f"mutual learning needs at least two peers, got {len(peers)}.")
        self.sequential = sequential
        self.players = nn.ModuleDict(peers if sequential else {"peers": Peers(peers)})

    @classmethod
    def from_context(cls, context: SchemeContext, sequential: bool = False) -> Mutual:
        """Build as many peers as the run has."""
        return cls({name: context.player(k, name) for k, name in enumerate(peer_names(context))}, sequential)

    def wire(self, batch: Batch, samples: int) -> None:
        """Wire each peer to its neighbour."""
        if self.sequential:
            wire_peers([unwrap(player) for player in self.players.values()], batch, samples, self.provides)
        else:
            unwrap(self.players["peers"]).wire(batch, samples, self.provides)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield one turn for all peers, or one turn for each."""
        if not self.sequential:
            yield "peers", self.players["peers"](batch)
            return
        _, *later = self.players
        outputs = {name: self._predict(name, batch) for name in later}
        for name in self.players:
            yield name, self.players[name](batch, [outputs[peer] for peer in self.players if peer != name])
            if name != later[-1]:
                outputs[name] = self._predict(name, batch)

    @torch.no_grad()
    def _predict(self, name: str, batch: Batch) -> Outputs:
        outputs: Outputs = unwrap(self.players[name]).forward_student(batch)
        return outputs
