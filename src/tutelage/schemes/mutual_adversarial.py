"""Mutual learning with critics, which discriminate between the peers' last maps (AFD)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import Tensor, nn
from torch.func import functional_call

from tutelage.errors import ConfigError, ModelError
from tutelage.nn.connectors import Conv1x1, as_map
from tutelage.nn.feature_extractor import eval_no_grad, to_float32
from tutelage.nn.maps import conv, dimensions_of
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.player import AuxiliaryPlayer, Player
from tutelage.schemes.base import Scheme, SchemeContext, Turn, peer_names, unwrap
from tutelage.schemes.peers import Peers
from tutelage.structures import Batch, Outputs
from tutelage.utils.options import Positive


class MutualAdversarial(Scheme):
    r"""Mutual learning in which peer k has a critic D_k that discriminates its last map F_k from the next peer's,
    F_k+1.

    L_k = terms(z_k, peers) + w·(1 − D_k(F_k))², then L_{D_k} = (1 − D_k(F_k+1))² + D_k(F_k)²: means over samples and
    positions; D_k is constant in the first, the maps in the second. The peer after the last is the first.

    Args:
        weight: w. The paper optimises the adversarial loss separately, with a lower learning rate; here it is one of
            the peer's losses, and a w below 1, chosen by us, takes the place of that learning rate.
    Paper: Chung, Park, Kim, Kwak. ICML 2020. arXiv:2002.01775 (AFD)
    Raises: ConfigError with fewer than two peers, or if the weight isn't above 0.
    """

    name = "mutual_adversarial"
    takes_teacher = False
    has_peers = True

    def __init__(self, peers: Mapping[str, MapPlayer], weight: Positive = 0.1) -> None:
        super().__init__()
        if len(peers) < 2:
            raise ConfigError(f"mutual learning needs at least two peers, got {len(peers)}.")
        critics = Critics()
        self.players = nn.ModuleDict({"peers": AdversarialPeers(peers, critics, weight), "critics": critics})

    @classmethod
    def from_context(cls, context: SchemeContext, weight: Positive = 0.1) -> MutualAdversarial:
        """Build as many peers as the run has."""
        if context.settings.sharded:
            raise ConfigError("scheme=mutual_adversarial: critics can't be sharded over devices; use strategy=ddp.")
        networks = {name: context.network(k, name) for k, name in enumerate(peer_names(context))}
        return cls({name: MapPlayer(model, context.terms(), context.task) for name, model in networks.items()}, weight)

    def wire(self, batch: Batch, samples: int) -> None:
        """Wire each peer to its neighbour, then size the critics."""
        unwrap(self.players["peers"]).wire(batch, samples, self.provides)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield the peers' turn, then the critics' turn on the peers' detached maps."""
        losses, maps = self.players["peers"](batch)
        yield "peers", losses
        yield "critics", self.players["critics"](maps)


class MapPlayer(Player):
    """A peer that provides its last map, convolved to a common shape if the peers' maps differ."""

    layer = ""
    transfer: nn.Module

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Find the layer of the last map, and wire the terms.

        Raises: ModelError if the network has none.
        """
        profile = profile_model(self.student.model, batch)
        if not profile.stages:
            raise ModelError(
                f"{type(self.student.model).__name__} has no stage, whose map the critics need; use another student."
            )
        self.layer = profile.name_with_form(profile.stages[-1].name, "map")
        super().wire(teacher, batch, samples, provides)

    def set_captured_layers(self, captured: Sequence[str] = ()) -> None:
        """Capture the last map in addition to the terms' layers."""
        super().set_captured_layers([*captured, self.layer])

    def map(self, outputs: Outputs) -> Tensor:
        """Return the last map."""
        return as_map(outputs[self.layer])

    def build_transfer(self, own_map: Tensor, common: Tensor) -> None:
        """Create the module that transforms this peer's map to the shape of the common example."""
        same_shape = own_map.shape[1:] == common.shape[1:]
        self.transfer = nn.Identity() if same_shape else Conv1x1(own_map, common).to(own_map)


class Critics(AuxiliaryPlayer):
    """One critic per peer, two 3×3 convolutions with LeakyReLU between; its target is 1 on the next peer's maps.

    forward(maps) → {peer: (1 − D_k(F_k+1))² + D_k(F_k)²}.
    """

    def __init__(self) -> None:
        super().__init__()
        self.critics = nn.ModuleDict()

    def build(self, names: Iterable[str], example: Tensor) -> None:
        """Create critics for maps of the example's shape."""
        dimensions, channels = dimensions_of(example), example.shape[1]
        for name in names:
            self.critics[name] = nn.Sequential(
                conv(dimensions, channels, channels, 3, padding=1),
                nn.LeakyReLU(0.2),
                conv(dimensions, channels, 1, 3, padding=1),
                nn.Sigmoid(),
            ).to(example)

    def forward(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return each critic's loss."""
        next_peer = dict(zip(maps, [*list(maps)[1:], *list(maps)[:1]], strict=True))
        losses = {}
        for name, critic in self.critics.items():
            real, fake = to_float32(critic(maps[next_peer[name]])), to_float32(critic(maps[name]))
            losses[name] = (1 - real).square().mean() + fake.square().mean()
        return losses

    def adversarial_loss(self, name: str, x: Tensor) -> Tensor:
        """Return (1 − D_k(x))², with the critic constant."""
        constant = {key: parameter.detach() for key, parameter in self.critics[name].named_parameters()}
        score: Tensor = functional_call(self.critics[name], constant, (x,))
        return (1 - to_float32(score)).square().mean()


class AdversarialPeers(Peers):
    """Peers that are judged by critics; forward(batch) → the peers' losses, and their detached maps."""

    def __init__(self, players: Mapping[str, MapPlayer], critics: Critics, weight: float) -> None:
        super().__init__(players)
        self.critics = [critics]  # in a list, so that they aren't a submodule and aren't trained in the peers' turn
        self.weight = weight

    def wire(self, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Wire the peers, transform their maps to the smallest shape, and size the critics."""
        super().wire(batch, samples, provides)
        with eval_no_grad(self):
            maps = {name: player.map(player.forward_student(batch)) for name, player in self.map_players().items()}
        first = next(iter(maps.values()))
        sides = range(1, min(x.dim() for x in maps.values()))
        common = first.new_zeros(1, *(min(x.shape[dim] for x in maps.values()) for dim in sides))
        for name, player in self.map_players().items():
            player.build_transfer(maps[name], common)
        self.critics[0].build(maps, common)

    def map_players(self) -> dict[str, MapPlayer]:
        """Return the peers by name."""
        return self.peers()  # type: ignore[return-value]

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:  # type: ignore[override]
        """Run one forward of each peer."""
        outputs = {name: player.forward_student(batch) for name, player in self.peers().items()}
        maps = {name: player.transfer(player.map(outputs[name])) for name, player in self.map_players().items()}
        adversarial = {
            f"{name}/adversarial": self.weight * self.critics[0].adversarial_loss(name, x) for name, x in maps.items()
        }
        return self.taught(outputs, batch) | adversarial, {name: x.detach() for name, x in maps.items()}
