"""What a configuration names, made: networks, teachers, terms, schemes, data."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from tutelage import data as datasets
from tutelage import models, saved
from tutelage.cache.storage import storage
from tutelage.caching import cached
from tutelage.callbacks import Callback
from tutelage.config import Config, Spec, specs
from tutelage.data.base import Data
from tutelage.errors import ConfigError
from tutelage.fabric import make_fabric
from tutelage.phase import Phase
from tutelage.player import Player
from tutelage.schemes.base import Scheme
from tutelage.schemes.mutual import Mutual
from tutelage.schemes.offline import Offline
from tutelage.settings import Settings
from tutelage.tasks.base import Task
from tutelage.tasks.classification import Classification
from tutelage.tasks.segmentation import Segmentation
from tutelage.teachers.ahead import placed
from tutelage.teachers.base import Teacher
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen, refuse_precision
from tutelage.teachers.moving_average import MovingAverage
from tutelage.terms import Method, Terms

TASKS: dict[str, Callable[[], Task]] = {"classification": Classification, "segmentation": Segmentation}


@dataclass
class Given:
    """What was given as an object instead of by name: networks, data, terms, further callbacks."""

    teacher: nn.Module | None = None
    student: nn.Module | None = None
    data: Data | None = None
    method: Method | None = None
    callbacks: tuple[Callback, ...] = ()


@dataclass
class Network:
    """A network and the normalisation that it wants; None: the data's own."""

    model: nn.Module
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch."""
    from lightning.fabric.utilities.seed import seed_everything as seed_all

    seed_all(seed, verbose=False)


class Making:
    """The parts of one run, as its configuration names them or as they were given."""

    def __init__(self, config: Config, given: Given) -> None:
        self.config, self.given = config, given
        self.data = self.given.data or load_data(config)
        task = self.data.task if config.task == "auto" else config.task
        if task != self.data.task:
            raise ConfigError(f"task={config.task}, but {self.data.name} is data for {self.data.task}; leave task out.")
        self.task = TASKS[task]()
        self.fabric = make_fabric(config)
        if config.devices > 1:
            self.fabric.launch()
        self.rehearsing = False
        self.folder = Path()

    def settings(self, phase: Phase) -> Settings:
        """The trainer's, for one phase."""
        config = self.config
        values = {key: getattr(config, key) for key in Settings.model_fields} | {"seed": phase.seed}
        if not self.data.random:
            values["views"] = min(self.config.views or 1, 1) if self.config.cache else self.config.views
        if phase.role == "teacher":
            values["epochs"] = config.teacher_epochs or config.epochs
            values["lr"] = config.teacher_lr or config.lr
        return Settings(**values)

    def has_teacher(self) -> bool:
        """Whether somebody who is there teaches."""
        return self.config.teacher is not None or self.given.teacher is not None

    def teacher_is_trained(self) -> bool:
        """Whether the teacher is first trained on this data."""
        name, epochs = self.config.teacher, self.config.teacher_epochs
        if self.given.teacher is not None or not isinstance(name, str) or name == "moving_average":
            return bool(self.given.teacher is not None and epochs)
        if epochs is None:
            return not saved.is_run(name) and self.config.teacher_weights is None
        return epochs > 0

    def scheme(self, phase: Phase, data: Data) -> tuple[Scheme, Data, Terms]:
        """What a phase trains, its data as the network wants it, and its terms."""
        if phase.role == "teacher":
            network = self.network(self.config.teacher, self.config.teacher_weights, self.given.teacher)
            terms = Terms.of(None, self.task.truth())
            return Offline(Player(network.model, terms, self.task)), wanted(network, data), terms
        if phase.role == "student" and self.config.scheme == "mutual":
            return self._peers(data)
        network = self.network(self.config.student, self.config.student_weights, self.given.student)
        data = wanted(network, data)
        taught = phase.role == "student"
        teacher = self.teacher(network, data) if taught else None
        if teacher is not None and self.config.cache:
            storage(self.config.cache_storage, len(data.classes))
            if not self.rehearsing:
                teacher = cached(teacher, data, self.config, self.settings(phase), self.fabric.device)
        teacher = placed(teacher, self.config)
        terms = self.terms() if taught else Terms.of(None, self.task.truth())
        players = {"student": Player(network.model, terms, self.task)}
        if taught:
            players |= {name: self._further(spec, phase, data) for name, spec in self.further().items()}
            seed_everything(phase.seed)
        return Offline(players, teacher), data, terms

    def further(self) -> dict[str, Spec]:
        """What the students beside the first are told, by name."""
        found: dict[str, Spec] = {}
        for spec in self.config.students:
            method = "+".join(term["name"] for term in specs(spec.get("method", self.config.method)))
            parts = [spec.get("student"), method, spec.get("seed")]
            stem = re.sub(r"[^\w-]+", "-", str(spec.get("name") or "-".join(str(p) for p in parts if p is not None)))
            if stem in ("student", *found):
                raise ConfigError(f"students: two are called {stem!r}; give each a name of its own ({{name: …}}).")
            found[stem] = spec
        return found

    def _further(self, spec: Spec, phase: Phase, data: Data) -> Player:
        seed_everything(phase.seed if spec.get("seed") is None else int(spec["seed"]))
        given = None if "student" in spec else self.given.student
        network = self.network(spec.get("student", self.config.student), None, given)
        if wanted(network, data).mean != data.mean or wanted(network, data).std != data.std:
            raise ConfigError(
                f"students: {spec.get('student')} wants its images normalised otherwise than {self.config.student}; "
                "train it in a run of its own, from the same cache."
            )
        terms = Terms.of(specs(spec["method"]), self.task.truth()) if "method" in spec else self.terms()
        return Player(network.model, terms, self.task)

    def _peers(self, data: Data) -> tuple[Scheme, Data, Terms]:
        players: dict[str, Player] = {}
        for k in range(self.config.peers):
            network = self.network(self.config.student, self.config.student_weights, self.given.student)
            data = wanted(network, data)
            players[f"peer{k}"] = Player(network.model, self.terms(), self.task)
        return Mutual(players), data, players["peer0"].terms

    def terms(self) -> Terms:
        """The method's terms, with the task's loss beside them."""
        given = copy.deepcopy(self.given.method)  # phases and peers share nothing
        return Terms.of(given if given is not None else specs(self.config.method), self.task.truth())

    def network(self, name: Any, weights: str | None, given: nn.Module | None) -> Network:
        """A network by name, of a run folder, or a copy of the one that was given."""
        if given is not None:
            return Network(copy.deepcopy(given))
        if saved.is_run(name):
            return self._saved(name)
        made = models.create(
            name,
            classes=len(self.data.classes),
            channels=self.data.channels,
            size=self.data.size,
            pretrained=self.config.pretrained,
            task=self.data.task,
            weights=weights,
        )
        for message in made.notes:
            for callback in self.given.callbacks:
                callback.note({"kind": "note", "message": message})
        return Network(made.model, made.mean, made.std)

    def _saved(self, path: str) -> Network:
        model = saved.load(path)
        card: saved.Card = model.card  # type: ignore[assignment]
        ours = self.data.classes
        if card.classes != ours:
            how = "in another order" if sorted(card.classes) == sorted(ours) else "of other classes"
            raise ConfigError(
                f"{path} was trained {how}: it knows {few(card.classes)}, {self.data.name} has {few(ours)}; "
                "use data whose class folders or labels are the same, in the same order."
            )
        if card.channels != self.data.channels:
            raise ConfigError(f"{path} takes {card.channels} channels, {self.data.name} has {self.data.channels}.")
        return Network(model, card.mean, card.std)

    def teacher(self, student: Network, data: Data) -> Teacher | None:
        """The teacher that the configuration names, as the phases before left it."""
        config = self.config
        if config.teacher == "moving_average":
            return MovingAverage(student.model, self.task, config.decay)
        if isinstance(config.teacher, list):
            networks = [self.network(name, None, None) for name in config.teacher]
            return Ensemble([self.frozen(network, data) for network in networks])
        if self.teacher_is_trained() and not self.rehearsing:
            path = self.folder / "teacher" / "model.safetensors"
            given = copy.deepcopy(self.given.teacher)
            model = saved.load(path, given)
            card: saved.Card = model.card  # type: ignore[assignment]
            return self.frozen(Network(model, card.mean, card.std), data)
        if not self.has_teacher():
            return None
        return self.frozen(self.network(config.teacher, config.teacher_weights, self.given.teacher), data)

    def frozen(self, network: Network, data: Data) -> Frozen:
        """A frozen teacher that gets its images normalised as it wants them."""
        config = self.config
        refuse_precision(config.teacher_precision, config.teacher_device or str(self.fabric.device))
        how: Any = {"precision": config.teacher_precision, "folded": config.teacher_fold}
        if network.mean is None or network.std is None or (network.mean, network.std) == (data.mean, data.std):
            return Frozen(network.model, self.task, **how)
        scale = [ours / theirs for ours, theirs in zip(data.std, network.std, strict=True)]
        shift = [(ours - theirs) / s for ours, theirs, s in zip(data.mean, network.mean, network.std, strict=True)]
        return Frozen(network.model, self.task, scale, shift, **how)


def wanted(network: Network, data: Data) -> Data:
    """The data, normalised as a pre-trained network wants it."""
    if network.mean is None or network.std is None:
        return data
    return replace(data, mean=network.mean, std=network.std)


def load_data(config: Config) -> Data:
    """The data that a configuration names.

    Raises: ConfigError if its limit can't hold a sample of each class.
    """
    loaded = datasets.load(
        config.data,
        size=config.size,
        val=config.val,
        seed=config.seed,
        limit=config.limit,
        labels_per_class=config.labels_per_class,
        augment=config.augment,
        task=None if config.task == "auto" else config.task,
    )
    if config.limit is not None and config.limit < len(loaded.classes) and loaded.train.labels is not None:
        raise ConfigError(
            f"limit={config.limit} training samples can't hold the {len(loaded.classes)} classes of {config.data}; "
            "raise it, or use labels_per_class."
        )
    return loaded


def few(names: Sequence[str]) -> str:
    """The first of them, and how many there are."""
    return ", ".join(names[:4]) + (f", … ({len(names)})" if len(names) > 4 else "")
