"""The streams of training data that a configuration names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tutelage import data as datasets
from tutelage.config.kinds import StreamSpec
from tutelage.config.schema import Config
from tutelage.data.data_module import DataModule
from tutelage.data.from_datasets import DatasetSource
from tutelage.data.joined_split import JoinedSplit
from tutelage.data.loading import OF_READING, SOURCE_OPTIONS, is_name, may_share_samples, same_source
from tutelage.data.streams import Stream
from tutelage.errors import ConfigError
from tutelage.utils.stream_names import LABELLED, STREAMS

Streams = Mapping[str, DataModule | DatasetSource]
"""The streams that were passed as objects, by name."""


def with_streams(
    data: DataModule, config: Config, load_whole: Callable[[], DataModule], provided: Streams
) -> DataModule:
    """Return the data with the configuration's streams joined to its training samples.

    A target stream with labels provides val and test. A stream of the same source has all its training samples, of
    which `limit` and `labels_per_class` keep some as labelled ones.

    Args:
        data: the labelled data.
        config: the configuration.
        load_whole: loads the labelled data with all its training samples.
        provided: the streams that were passed as objects.

    Raises: ConfigError for streams that the data's task can't use, or of other inputs or classes than the data's.
    """
    _refuse_unsuitable(data)
    specs: dict[str, StreamSpec] = {str(name): spec for name, spec in config.streams.items()}
    shares = {name: specs[name].get("share", 1 / (len(specs) + 1)) for name in STREAMS if name in specs}
    if sum(shares.values()) > 1 - 1e-6:
        raise ConfigError(f"streams: the shares {shares} leave nothing of a batch to the labelled samples.")
    joined, streams = [data.train], [Stream(LABELLED, 0, len(data.train), 1 - sum(shares.values()), data.name)]
    changes: dict[str, Any] = {}
    for name, share in shares.items():
        source = specs[name]["source"]
        other = load_whole() if source == config.data else _load(name, source, data, config, provided.get(name))
        streams.append(Stream(name, sum(map(len, joined)), len(other.train), share, source))
        joined.append(other.train)
        if name == "target" and other.target == data.target:
            changes |= {"name": other.name, "val": other.val, "test": other.test}
    return replace(data, train=JoinedSplit(joined), streams=tuple(streams), **changes)


def _refuse_unsuitable(data: DataModule) -> None:
    """Refuse data whose samples can't be joined with unlabelled ones."""
    faults = {
        "has no labels": data.target == "none",
        "has groups": data.target == "grades" or data.train.groups is not None,
        "has columns that are encoded by the training samples": bool(data.encoding),
        "is drawn by weights (balance)": data.train.weights is not None,
        "is read in order (order)": data.train.in_order,
    }
    if found := [fault for fault, there in faults.items() if there]:
        raise ConfigError(f"streams: {data.name} {' and '.join(found)}: streams are for labelled data without these.")


def _refuse_same_files(source: str, labelled: str) -> None:
    """Refuse a folder within the labelled one, or around it: it has the validation and test samples too.

    Raises: ConfigError that names both.
    """
    paths = [Path(name.partition(":")[2] or "?").resolve() for name in (source, labelled)]
    if all(path.exists() for path in paths) and (
        paths[0] in paths[1].parents or paths[1] in [paths[0], *paths[0].parents]
    ):
        raise ConfigError(
            f"streams: {source} and {labelled} have files in common, also of validation and test: use other files, or "
            f"{labelled} for both, whose stream has its training samples alone."
        )


def _same_source(source: str, labelled: str) -> bool:
    """Return whether a stream's data, and the labelled data if they have a name, are of one source."""
    return is_name(labelled) and same_source(source, labelled)


def _load(
    name: str, source: str, data: DataModule, config: Config, provided: DataModule | DatasetSource | None
) -> DataModule:
    """Return a stream's data.

    Raises: ConfigError if its inputs or classes differ from the labelled data's.
    """
    if provided is not None or not may_share_samples(source):
        _refuse_same_files(source, config.data)
    options: dict[str, Any] = {"size": (data.size[0], data.size[1]) if len(data.size) == 2 else None}
    divided = options | {"val": config.val, "seed": config.data_seed, "fingerprint": config.fingerprint}
    if isinstance(provided, DataModule):
        other = provided
    elif provided is not None:
        other = provided.data(**(options if name == "unlabelled" else divided))
    else:
        own = {key: getattr(config, key) for key in SOURCE_OPTIONS} if _same_source(source, config.data) else {}
        reading = {key: value for key, value in own.items() if key in OF_READING}
        other = datasets.load_unlabelled(source, **options, **reading, fingerprint=config.fingerprint)
        if name == "target" and other.target != "none":
            other = datasets.load(source, **divided, **own)
    if name == "target" and other.target not in ("none", data.target):
        raise ConfigError(
            f"streams: the targets of {source} are {other.target!r}, and those of {data.name} {data.target!r}: "
            "expected the same, or data without labels."
        )
    if name == "target" and other.target == data.target and other.classes != data.classes:
        raise ConfigError(
            f"streams: {source} has the classes {', '.join(other.classes)}, and {data.name} {', '.join(data.classes)}: "
            "expected the same, in one order."
        )
    for what in ("modality", "channels", "source_scale"):
        if getattr(other, what) != getattr(data, what):
            raise ConfigError(
                f"streams: {source} has {what} {getattr(other, what)}, and {data.name} {getattr(data, what)}: expected "
                "the same."
            )
    if _inputs(other) != _inputs(data):
        raise ConfigError(
            f"streams: {source} has the inputs {_inputs(other)}, and {data.name} {_inputs(data)}: expected the same."
        )
    return other


def _inputs(data: DataModule) -> dict[str, tuple[str, int, tuple[int, ...]]]:
    """Return the modality, channels and size of each input by name; a single image is brought to the other's size."""
    if data.fields:
        return {name: (field.modality, field.channels, field.size) for name, field in data.fields.items()}
    return {"inputs": (data.modality, data.channels, () if data.modality == "image" else data.size)}
