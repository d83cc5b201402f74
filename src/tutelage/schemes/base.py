"""What a scheme is: for one batch, who minimises what, in which order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.settings import TrainerSettings
from tutelage.structures import Batch
from tutelage.tasks.base import Task
from tutelage.teachers.base import Teacher
from tutelage.utils.options import Checked

Turn = tuple[str, dict[str, Tensor]]


class SchemeContext(Protocol):
    """What a scheme is made of, as one phase of a run names it: fresh networks and terms each time, and a teacher.

    Ask for the first network before the data: these are normalised as it wants them. seed: the phase's own;
    settings: the trainer's; peers: how many students learn together; method: what the run's keys say, None for the
    default; frozen_only: the keys that are set and for a teacher that stays as it is.
    """

    settings: TrainerSettings
    task: Task
    seed: int
    peers: int
    method: Any
    frozen_only: Sequence[str]

    @property
    def phase_folder(self) -> Path:
        """The folder of the training."""

    @property
    def data(self) -> DataModule:
        """The phase's data."""

    def hold_out(self, share: float) -> DataModule:
        """Take a share of the training samples out of the phase's data; the data that has them for training."""

    def network(self, number: int = 0, player: str = "student") -> nn.Module:
        """A fresh network: the student, or one of several peers by number; player: what it will be called."""

    def player(self, number: int = 0, player: str = "student") -> Player:
        """A fresh network with the method's terms."""

    def new_student(self, name: str | None = None) -> nn.Module:
        """A fresh network of the run's student, or of that name: whom the phase's network is to teach."""

    def terms(self, truth: bool = True) -> Terms:
        """The method's terms, with the task's loss beside them where `truth` says so and the method has none."""

    def teacher(self, student: nn.Module) -> Teacher | None:
        """The teacher."""

    def extra_students(self) -> dict[str, Player]:
        """The students beside the first, on the same batches."""


class Scheme(Checked, nn.Module):
    """Players and who teaches them.

    `turns(batch, step)` yields (player, {name: scalar}); for each turn the trainer goes backward on the sum and steps
    that player's optimisers before it asks for the next. `players` are what the trainer wraps and optimises.
    """

    players: nn.ModuleDict
    batching: Mapping[str, Any] = {}
    """What it asks of the training's batches: `order`, `each` and `copies` of Data.batches."""
    takes_teacher: ClassVar[bool] = True
    """Whether a teacher that is already there belongs to it."""
    provides: ClassVar[tuple[str, ...]] = ()
    """The inputs that it adds to each batch, for losses that require them by keyword."""

    @classmethod
    def from_context(cls, parts: SchemeContext) -> Scheme:
        """Made of a run's parts; further keyword parameters are its options in a configuration."""
        raise ConfigError(f"scheme={cls.__name__} can't be made from a configuration; make it in Python.")

    @abstractmethod
    def wire(self, batch: Batch, samples: int) -> None:
        """Size everything from one example, before optimisers are made; samples: the training set's size."""

    @abstractmethod
    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Who minimises what, in order."""

    def lookahead(self, batches: Generator[Batch]) -> Generator[Batch]:
        """The batches of an epoch; a scheme may look ahead in them. Closed when the epoch ends or fails."""
        return batches

    def after_step(self) -> None:
        """Called after each batch's turns."""

    def students(self) -> dict[str, FeatureExtractor]:
        """The networks that the run is for, by name."""
        return {
            name if own == "student" else own: student
            for name, player in self.players.items()
            for own, student in unwrap(player).students().items()
        }

    def terms(self) -> dict[str, Terms]:
        """The players' terms, by what stands before their names in a turn: "student/", "peers/a/"."""
        found: dict[str, Terms] = {}
        for name, player in self.players.items():
            for path, module in unwrap(player).named_modules():
                if isinstance(module, Terms):
                    parts = [part for part in path.split(".") if part not in ("players", "terms")]
                    found["/".join([name, *parts, ""])] = module
        return found

    def balance(self, norms: Mapping[str, float]) -> bool:
        """Let the weights that go by gradients take note of the norms of "player/term"; whether there are any."""
        found = False
        for before, terms in self.terms().items():
            found |= terms.balance({name.removeprefix(before): norm for name, norm in norms.items()})
        return found

    def weights(self) -> dict[str, float]:
        """The weights in use of the terms whose weight goes by the others', by "player/term"."""
        return {before + n: weight for before, terms in self.terms().items() for n, weight in terms.weights().items()}

    def checkpoint_state(self) -> dict[str, Any]:
        """What changes in training beside the players."""
        return {}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Take back what `checkpoint_state` gave."""


class SelfTaught(Scheme):
    """Abstract: one student that teaches itself; it is told whatever it says itself, by its player."""

    takes_teacher = False

    def __init__(self, player: Player, **batching: Any) -> None:
        super().__init__()
        self.players = nn.ModuleDict({"student": player})
        self.batching = batching

    def wire(self, batch: Batch, samples: int) -> None:
        """Wire the player to itself."""
        unwrap(self.players["student"]).wire(None, batch, samples, self.provides)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """One turn."""
        yield "student", self.players["student"](batch)


def peer_names(parts: SchemeContext) -> list[str]:
    """peer0, peer1 …, as many as the run has."""
    return [f"peer{k}" for k in range(parts.peers)]


def display_name(name: str) -> str:
    """A turn's "player/term" as rows have it: "student/kd" is "kd"; peers keep their names."""
    return name.removeprefix("student/").removeprefix("peers/")


def unwrap(module: nn.Module) -> Any:
    """The module inside the wrappers of Fabric, DDP and torch.compile."""
    for inner in ("_forward_module", "module", "_orig_mod"):
        while inner in module._modules:
            module = module._modules[inner]  # type: ignore[assignment]
    return module
