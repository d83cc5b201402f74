"""A published protocol: the keys of its trainings, what differs by network, pair and method, and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage.config import schema
from tutelage.errors import CheckpointError, ConfigError
from tutelage.utils.key_types import CHANGES_ON_RESUME

Keys = Mapping[str, Any]
Pair = tuple[str, str]
"""The names of a teacher, empty where there is none, and a student."""

PAPER_WEIGHTS: dict[str, Any] = {"weight": "paper"}
"""The keys by which all methods of a protocol have their published weights."""
FREE = (
    "data", "seed", "split_seed", "devices", "channels_last", "compile", "recompute", "fingerprint", "log", "snapshots",
    *(key for key in schema.keys_with_mark(CHANGES_ON_RESUME) if key not in ("epochs", "lr")),
)  # fmt: skip
"""The keys that change where and how fast a protocol is run, but not what is trained."""
NETWORKS = ("pairs", "students", "teachers")
"""The keys of a study that name networks."""
OF_LENGTH = {"epochs": int, "warmup": float}
"""The keys of stages and terms that are numbers of epochs, with their types."""


@dataclass(frozen=True)
class FigureSource:
    """The source of published figures.

    Args:
        text: where they are published.
        access: read, if they were read there; recalled, if they are from memory.
        epoch: of which epoch they are: last, best on test, or not stated.
        seeds: the number of trainings of which each is the mean; None: not stated.
    """

    text: str
    access: str
    epoch: str
    seeds: int | None = None

    def __str__(self) -> str:
        """Return the source with what is known of its figures."""
        seeds = f", {self.seeds} seeds" if self.seeds else ""
        return f"{self.text} ({self.access}; epoch: {self.epoch}{seeds})"


@dataclass(frozen=True)
class PublishedFigure:
    """A published figure, its standard deviation if that is known, its source, and how its method differs from ours."""

    value: float
    spread: float | None
    source: FigureSource
    note: str = ""


@dataclass(frozen=True)
class StudyProtocol:
    """A published protocol; without arguments, none.

    Args:
        name: its name.
        summary: a line about it.
        paper: the paper that it comes from.
        data: the data set's name, and its numbers of classes, of train and test samples; none for a small version.
        keys: the keys of a study, and of its runs.
        networks: by network, the keys that differ.
        methods: by name, the keys of methods that aren't the catalogue's of that name.
        of_pairs: by pair and method, the keys that differ.
        differences: what differs from the published code.
        figures: the published figures, by pair and method; a network trained alone has no teacher and the method alone.
        full: of a small version, the name of the published protocol.
    """

    name: str = ""
    summary: str = ""
    paper: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    keys: Keys = field(default_factory=dict)
    networks: Mapping[str, Keys] = field(default_factory=dict)
    methods: Mapping[str, Keys] = field(default_factory=dict)
    of_pairs: Mapping[Pair, Mapping[str, Keys]] = field(default_factory=dict)
    differences: Sequence[str] = ()
    figures: Mapping[Pair, Mapping[str, PublishedFigure]] = field(default_factory=dict)
    full: str = ""

    @property
    def pairs(self) -> list[Pair]:
        """The pairs, or the students alone, of which methods are published."""
        return [pair for pair, figures in self.figures.items() if {*figures} - {"alone"}]

    @property
    def published_methods(self) -> list[str]:
        """The methods that have published figures or keys of their own."""
        of_figures = (name for figures in self.figures.values() for name in figures if name != "alone")
        return [*dict.fromkeys([*self.methods, *of_figures])]

    def figure(self, teacher: str, student: str, method: str) -> PublishedFigure | None:
        """Return the published figure of a method; None if there is none."""
        return self.figures.get((canonical(teacher), canonical(student)), {}).get(method)

    # the keys of a study

    def complete(self, given: Keys) -> dict[str, Any]:
        """Return a study's keys with the protocol's for those that aren't given; phases in epochs scale with epochs.

        Raises: ConfigError if the data, or networks, are missing.
        """
        named = any(given.get(key) for key in NETWORKS)
        own = self.of_length(given.get("epochs")).items()
        keys = {key: value for key, value in own if not (named and key in NETWORKS)} | dict(given)
        if "data" not in keys:
            raise ConfigError(
                f"protocol={self.name} is for {self.data['name']}: say where it is (data=cifar100:PATH), or try "
                f"protocol={self.name}_small, which has embedded data."
            )
        if not any(keys.get(key) for key in NETWORKS):
            teacher, student = self.pairs[0] if self.pairs else ("", "resnet32")
            example = f"pairs=[{teacher}:{student}]" if teacher else f"students=[{student}]"
            raise ConfigError(
                f"protocol={self.name}: name the networks, such as {example}; `tutelage show {self.name}` lists "
                "those of which figures are published."
            )
        return keys

    def of_length(self, epochs: Any) -> dict[str, Any]:
        """Return the protocol's keys for another number of epochs, if it is one."""
        share = self._share(epochs)
        warmup = {"lr_warmup": share * self.keys["lr_warmup"]} if self.keys.get("lr_warmup") else {}
        return dict(self.keys) | warmup | ({} if share == 1 else {"epochs": epochs})

    def _share(self, epochs: Any) -> float:
        """Return a number of epochs as a share of the protocol's."""
        known = isinstance(epochs, int) and epochs > 0 and "epochs" in self.keys
        return epochs / self.keys["epochs"] if known else 1.0

    def of_network(self, network: str, keys: Keys) -> dict[str, Any]:
        """Return the keys of a network that differ, where a study's keys are the protocol's."""
        own = self.networks.get(canonical(network), {})
        return {key: value for key, value in own.items() if keys.get(key) == self.keys.get(key)}

    def of_method(self, entry: Any, epochs: Any) -> Any:
        """Return an entry of `methods` with the protocol's keys if it names one of its methods.

        Raises: ConfigError for another method of that name.
        """
        if not isinstance(entry, Mapping):
            own = self.methods.get(entry)
            return entry if own is None else {"name": entry, **scaled(own, self._share(epochs))}
        if (name := str(entry.get("name") or entry.get("method"))) in self.published_methods:
            raise ConfigError(
                f"methods: {name} is a method of protocol={self.name}, and yours has keys of its own: give it another "
                "name."
            )
        return entry

    def of_pair(self, teacher: str, student: str, method: str, epochs: Any) -> dict[str, Any]:
        """Return the keys of a method that differ for a pair."""
        own = self.of_pairs.get((canonical(teacher), canonical(student)), {}).get(method, {})
        return dict(scaled(own, self._share(epochs)))

    def changes(self, keys: Keys) -> list[str]:
        """Return how a study's keys differ from the protocol's, in words; those that don't change the training don't
        count.
        """
        own = self.of_length(keys.get("epochs"))
        words = []
        for key in sorted({*keys} - {*FREE, "epochs"}):
            if key not in own:
                words.append(f"{key} {keys[key]}")
            elif keys[key] != own[key]:
                words.append(f"{key} {keys[key]} in place of {own[key]}")
        epochs, published = keys.get("epochs"), self.keys.get("epochs")
        return [*([f"epochs {epochs} of {published}"] if epochs != published else []), *words]


def scaled(value: Any, share: float) -> Any:
    """Return keys whose numbers of epochs are a share of the published ones, at least 1 epoch of each stage."""
    if isinstance(value, Mapping):
        return {
            key: OF_LENGTH[key](max(round(share * each), 1) if key == "epochs" else share * each)
            if key in OF_LENGTH else scaled(each, share)
            for key, each in value.items()
        }  # fmt: skip
    return [scaled(each, share) for each in value] if isinstance(value, list) else value


def canonical(network: str) -> str:
    """Return a network's name as protocols write it; of a run folder, that of its model."""
    from tutelage.models import serialization

    try:
        name = serialization.read_card(network).model if serialization.is_run(network) else network
    except CheckpointError:  # a folder without a network, of which nothing is published
        name = network
    return name.replace("-", "_")
