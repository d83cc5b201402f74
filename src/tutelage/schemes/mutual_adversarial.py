"""Peers that teach each other, and learn to pass for one another before critics of their last maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import Tensor, nn
from torch.func import functional_call

from tutelage.errors import ConfigError, ModelError
from tutelage.nn.connectors import Conv1x1, as_map
from tutelage.nn.feature_extractor import eval_no_grad, to_float32
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.player import AuxiliaryPlayer, Player
from tutelage.schemes.base import Scheme, SchemeContext, Turn, peer_names, unwrap
from tutelage.schemes.peers import Peers
from tutelage.structures import Batch, Outputs
from tutelage.utils.options import Positive


class MutualAdversarial(Scheme):
    r"""Mutual learning in which each peer k has a critic D_k that tells its last map F_k from the next peer's, F_k+1.

    L_k = terms(z_k, others) + w·(1 − D_k(F_k))², then L_{D_k} = (1 − D_k(F_k+1))² + D_k(F_k)²: means over samples and
    positions; D_k is constant in the first, the maps in the second. The last peer's next one is the first.
    weight: w. The paper optimises the adversarial loss apart, with a lower learning rate; here it is one of the peer's
    losses, and a w below 1, of our choice, stands for that.
    Paper: Chung, Park, Kim, Kwak. ICML 2020. arXiv:2002.01775 (AFD)
    Raises: ConfigError with fewer than two peers, or if the weight isn't above 0.
    """

    name = "mutual_adversarial"
    takes_teacher = False

    def __init__(self, peers: Mapping[str, MapPlayer], weight: Positive = 0.1) -> None:
        super().__init__()
        if len(peers) < 2:
            raise ConfigError(f"mutual learning needs at least two peers, {len(peers)} given.")
        critics = Critics()
        self.players = nn.ModuleDict({"peers": AdversarialPeers(peers, critics, weight), "critics": critics})

    @classmethod
    def from_context(cls, parts: SchemeContext, weight: Positive = 0.1) -> MutualAdversarial:
        """As many peers as the run has."""
        if parts.settings.sharded:
            raise ConfigError("scheme=mutual_adversarial: critics can't be divided over devices: use strategy=ddp.")
        networks = {name: parts.network(k, name) for k, name in enumerate(peer_names(parts))}
        return cls({name: MapPlayer(model, parts.terms(), parts.task) for name, model in networks.items()}, weight)

    def wire(self, batch: Batch, samples: int) -> None:
        """Wire each peer to its neighbour, then size the critics."""
        unwrap(self.players["peers"]).wire(batch, samples, self.provides)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """The peers' turn, then the critics' on the maps that were said."""
        losses, maps = self.players["peers"](batch)
        yield "peers", losses
        yield "critics", self.players["critics"](maps)


class MapPlayer(Player):
    """A peer whose last map is heard, through a convolution to a common shape if the peers' maps differ."""

    layer = ""
    transfer: nn.Module

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Find the map.

        Raises: ModelError if the network has none.
        """
        profile = profile_model(self.student.model, batch)
        if not profile.stages:
            raise ModelError(f"{type(self.student.model).__name__} has no stage, whose map critics could judge.")
        self.layer = profile.named(profile.stages[-1].name, "map")
        super().wire(teacher, batch, samples, provides)

    def set_captured_layers(self, captured: Sequence[str] = ()) -> None:
        """Capture the map too."""
        super().set_captured_layers([*captured, self.layer])

    def map(self, outputs: Outputs) -> Tensor:
        """The last map."""
        return as_map(outputs[self.layer])

    def fit(self, own: Tensor, common: Tensor) -> None:
        """Make what turns its own map into one like the common example."""
        same = own.shape[1:] == common.shape[1:]
        self.transfer = nn.Identity() if same else Conv1x1(own, common).to(own)


class Critics(AuxiliaryPlayer):
    """For each peer a critic, two 3×3 convolutions with LeakyReLU between: 1 at each position of the next peer's maps.

    forward(maps) → {peer: (1 − D_k(F_k+1))² + D_k(F_k)²}.
    """

    def __init__(self) -> None:
        super().__init__()
        self.critics = nn.ModuleDict()

    def build(self, names: Iterable[str], example: Tensor) -> None:
        """Critics of maps like the example."""
        wide = example.shape[1]
        for name in names:
            self.critics[name] = nn.Sequential(
                nn.Conv2d(wide, wide, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(wide, 1, 3, padding=1), nn.Sigmoid()
            ).to(example)

    def forward(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each critic's loss."""
        following = dict(zip(maps, [*list(maps)[1:], *list(maps)[:1]], strict=True))
        losses = {}
        for name, critic in self.critics.items():
            real, fake = to_float32(critic(maps[following[name]])), to_float32(critic(maps[name]))
            losses[name] = (1 - real).square().mean() + fake.square().mean()
        return losses

    def fooled(self, name: str, x: Tensor) -> Tensor:
        """(1 − D_k(x))², the critic a constant."""
        constant = {key: parameter.detach() for key, parameter in self.critics[name].named_parameters()}
        score: Tensor = functional_call(self.critics[name], constant, (x,))
        return (1 - to_float32(score)).square().mean()


class AdversarialPeers(Peers):
    """Peers before critics; forward(batch) → their losses, and their maps without graph."""

    def __init__(self, players: Mapping[str, MapPlayer], critics: Critics, weight: float) -> None:
        super().__init__(players)
        self.critics = [critics]  # in a list: no part of these, so not trained in their turn
        self.weight = weight

    def wire(self, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Wire the peers; bring their maps to the smallest shape, and size the critics."""
        super().wire(batch, samples, provides)
        with eval_no_grad(self):
            maps = {name: player.map(player.forward_student(batch)) for name, player in self.mapped().items()}
        first = next(iter(maps.values()))
        common = first.new_zeros(1, *(min(x.shape[dim] for x in maps.values()) for dim in (1, 2, 3)))
        for name, player in self.mapped().items():
            player.fit(maps[name], common)
        self.critics[0].build(maps, common)

    def mapped(self) -> dict[str, MapPlayer]:
        """The peers by name."""
        return self.peers()  # type: ignore[return-value]

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:  # type: ignore[override]
        """One forward of each peer."""
        outputs = {name: player.forward_student(batch) for name, player in self.peers().items()}
        maps = {name: player.transfer(player.map(outputs[name])) for name, player in self.mapped().items()}
        fooled = {f"{name}/adversarial": self.weight * self.critics[0].fooled(name, x) for name, x in maps.items()}
        return self.taught(outputs, batch) | fooled, {name: x.detach() for name, x in maps.items()}
