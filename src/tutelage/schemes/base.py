"""The base class of schemes: for each batch, which player minimises which losses, in which order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
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
from tutelage.utils.compat import unwrap as unwrap
from tutelage.utils.options import CheckedArguments

Turn = tuple[str, dict[str, Tensor]]


class SchemeContext(Protocol):
    """The parts of one phase of a run from which `Scheme.from_context` builds a scheme.

    Networks and terms are fresh at each call. Create the first network before reading `data`, which is normalised as
    that network requires.

    Attributes:
        settings: the trainer's settings.
        task: the task of the run.
        seed: the phase's seed.
        peers: the number of students that learn together.
        method: the run's method; None for the default.
        frozen_only: the keys that are set although they need a frozen teacher.
    """

    settings: TrainerSettings
    task: Task
    seed: int
    peers: int
    method: Any
    frozen_only: Sequence[str]

    @property
    def phase_folder(self) -> Path:
        """The folder of this phase."""

    @property
    def data(self) -> DataModule:
        """The phase's data."""

    def hold_out(self, share: float) -> DataModule:
        """Remove a fraction `share` of the training samples from the phase's data.

        Returns: data whose training split is the removed samples.
        """

    def network(self, number: int = 0, player: str = "student") -> nn.Module:
        """Create a network: the student, or one of several peers by number; player: the name that it will have."""

    def player(self, number: int = 0, player: str = "student") -> Player:
        """Create a network together with the method's terms."""

    def new_student(self, name: str | None = None) -> nn.Module:
        """Create the run's student, or the model of that name, which the phase's network will teach later."""

    def terms(self, add_task_loss: bool = True) -> Terms:
        """Create the method's terms; with `add_task_loss`, add the task loss if the method has no supervised term."""

    def teacher(self, student: nn.Module) -> Teacher | None:
        """Create the phase's teacher, or None if it has none; student: the network that it teaches."""

    def extra_students(self) -> dict[str, Player]:
        """Create the additional students, which share the batches of the first."""


class Scheme(CheckedArguments, nn.Module):
    """Abstract: players, and the order in which each of them learns from which outputs.

    `turns(batch, step)` yields (player, {name: scalar}); for each turn the trainer runs backward on the sum and steps
    that player's optimisers before it resumes the generator. The trainer wraps and optimises the modules in `players`.

    Example:
        >>> from tutelage import CE, Classification, Offline, Player, Terms, models
        >>> network = models.create("cnn2", classes=10, channels=1).model
        >>> player = Player(network, Terms.from_method(CE()), Classification())
        >>> list(Offline(player).students())
        ['student']
    """

    players: nn.ModuleDict
    batching: Mapping[str, Any] = {}
    """The composition of training batches: `sampling`, `group_size` and `num_views` of DataModule.batches."""
    makes_inputs: bool = False
    """True if networks get other inputs than the batch's: mixed by the scheme, or read again; it refuses `mix`."""
    takes_teacher: ClassVar[bool] = True
    """True if the scheme uses a teacher that exists before training."""
    caches_teacher: ClassVar[bool] = True
    """True if the teacher's outputs may come from a cache; False if it gets other inputs than the batch's."""
    has_peers: ClassVar[bool] = False
    """True if the scheme trains as many students together as the key `peers` sets."""
    alone: ClassVar[str] = "offline"
    """The scheme, with the same options, that trains a network without a teacher: the baseline, and the teacher."""
    provides: ClassVar[tuple[str, ...]] = ()
    """The inputs that the scheme adds to each batch, for losses that require them by keyword."""

    @classmethod
    def from_context(cls, context: SchemeContext) -> Scheme:
        """Build the scheme for one phase of a run; a subclass's keyword parameters are its configuration options."""
        raise ConfigError(f"scheme={cls.__name__} can't be built from a configuration; build it in Python.")

    @abstractmethod
    def wire(self, batch: Batch, samples: int) -> None:
        """Create everything whose size depends on the data, before the optimisers are created.

        Args:
            batch: an example batch.
            samples: the number of training samples.
        """

    @abstractmethod
    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield one turn after the other.

        Args:
            batch: the training batch.
            step: the number of the training step, from 0.

        Yields: the name of a player and its weighted scalar losses by name.
        """

    def prefetch(self, batches: Generator[Batch]) -> Generator[Batch]:
        """Yield the batches of an epoch, possibly reading ahead; closed when the epoch ends or fails."""
        return batches

    def after_step(self) -> None:
        """Update the scheme's own state; the trainer calls this after the turns of each batch."""

    def evaluate_losses(self, batches: Iterable[Batch], fabric: Any = None) -> dict[str, float]:
        """Return the first student's losses in evaluation, and their sum as `embedding_loss`; here none.

        fabric: averages over the processes, if each has a part of the batches.
        """
        return {}

    def students(self) -> dict[str, FeatureExtractor]:
        """Return the networks that the run trains, by name."""
        return {
            name if student_name == "student" else student_name: student
            for name, player in self.players.items()
            for student_name, student in unwrap(player).students().items()
        }

    def terms(self) -> dict[str, Terms]:
        """Return the players' terms, by the prefix that their names have in a turn: "student/", "peers/a/"."""
        terms: dict[str, Terms] = {}
        for name, player in self.players.items():
            for path, module in unwrap(player).named_modules():
                if isinstance(module, Terms):
                    names = [part for part in path.split(".") if part not in ("players", "terms")]
                    terms["/".join([name, *names, ""])] = module
        return terms

    def method_terms(self) -> Terms:
        """Return the first student's terms, by their names in the method."""
        return next(iter(self.terms().values()), Terms())

    def balance(self, norms: Mapping[str, float], epoch: float) -> dict[str, float]:
        """Update the weights that depend on gradient norms; return the norms with the new weights, which scale them.

        norms: gradient norms by "player/term", at an epoch; those of students that share their terms are added.
        """
        before = self.weights()
        prefixes: dict[Terms, list[str]] = {}
        for prefix, terms in self.terms().items():
            prefixes.setdefault(terms, []).append(prefix)
        for terms, of_students in prefixes.items():
            total = {name: sum(norms.get(prefix + name, 0.0) for prefix in of_students) for name in terms}
            terms.balance(total, epoch)
        after = self.weights()
        return {name: norm * after[name] / before[name] if name in before else norm for name, norm in norms.items()}

    def weights(self) -> dict[str, float]:
        """Return the current weights of the terms whose weight depends on the other terms, by "player/term"."""
        return {prefix + n: weight for prefix, terms in self.terms().items() for n, weight in terms.weights().items()}

    def checkpoint_state(self) -> dict[str, Any]:
        """Return the state that training changes outside the players, for the checkpoint."""
        return {}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Restore the state that `checkpoint_state` returned."""


class SelfTaught(Scheme):
    """Abstract: self-distillation; the player of the one student computes the teacher's outputs from the student's."""

    takes_teacher = False

    def __init__(self, player: Player, **batching: Any) -> None:
        super().__init__()
        self.players = nn.ModuleDict({"student": player})
        self.batching = batching

    def wire(self, batch: Batch, samples: int) -> None:
        """Wire the player without a teacher."""
        unwrap(self.players["student"]).wire(None, batch, samples, self.provides)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield the student's turn."""
        yield "student", self.players["student"](batch)


def peer_names(context: SchemeContext) -> list[str]:
    """Return the names peer0, peer1, …, one for each of the run's peers."""
    return [f"peer{k}" for k in range(context.peers)]


def display_name(name: str) -> str:
    """Return the name of a "player/term" in reports: "student/kd" becomes "kd"; peers keep their names."""
    return name.removeprefix("student/").removeprefix("peers/")
