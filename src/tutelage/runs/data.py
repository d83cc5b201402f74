"""The data that a configuration names."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tutelage import data as datasets
from tutelage.config.named_parts import name_of, options_of
from tutelage.config.schema import Config
from tutelage.data.alter import parse_augment
from tutelage.data.balancing import balance
from tutelage.data.data_module import DataModule
from tutelage.data.degrade import Degradation, degraded
from tutelage.data.from_datasets import DatasetSource
from tutelage.data.input_views import view_inputs, with_views
from tutelage.data.items import UNLABELLED
from tutelage.data.loading import SOURCE_OPTIONS
from tutelage.data.preparation import height_and_width, prepare_data
from tutelage.data.sealed import seal
from tutelage.errors import ConfigError
from tutelage.runs.streams import with_streams
from tutelage.tasks.base import Task
from tutelage.utils import registry


def load_data(
    config: Config,
    provided: DataModule | DatasetSource | None = None,
    streams: Mapping[str, DataModule | DatasetSource] | None = None,
    loaded: MutableMapping[str, DataModule] | None = None,
) -> DataModule:
    """Return the data that a configuration names or that was passed in its place; only one label column if it sets one.

    loaded: the data that were loaded by name so far, by their options; the trials of a study share them.
    With judged_on=val nothing can read its test split.
    Raises: ConfigError if its limit can't hold a sample of each class, if there is no such column, or if the data that
    was passed is for another task or sets another batch size.
    """
    data = _data_of(config, provided, streams, {} if loaded is None else loaded)
    return seal(data, config.val, config.data_seed) if config.judged_on == "val" else data


def _data_of(
    config: Config,
    provided: DataModule | DatasetSource | None,
    streams: Mapping[str, DataModule | DatasetSource] | None,
    loaded: MutableMapping[str, DataModule],
) -> DataModule:
    """Return the data, whose test split may still be read if an object or a stream brought it."""
    data = _loaded(config, provided, loaded)
    if config.degrade is not None:
        data = degraded(data, Degradation.of(config.degrade))
    if config.limit is not None and config.limit < len(data.classes) and data.train.labels is not None:
        raise ConfigError(
            f"limit={config.limit} training samples can't hold the {len(data.classes)} classes of {data.name}; "
            "raise it, or use labels_per_class."
        )
    batch_size = data.loader_keys.get("batch_size", config.batch_size)
    if batch_size != config.batch_size:
        raise ConfigError(
            f"batch_size={config.batch_size}, but the DataLoader of train has {batch_size}: set one of them, or "
            "pass its Dataset."
        )
    data = data if config.column is None else data.column(config.column)
    data = _with_note_of_unused_augment(data, config)
    if config.balance:
        data = balance(data)
    if (task := _task_of_config(config)) is not None:
        data = task.adapt_data(data, options_of(config.task))
    if data.target == "none":
        if config.streams:
            return with_streams(data, config, lambda: data, {})  # which refuses it
        return replace(_for_backbones(data, config), probe=load_probe(config, data))
    if config.probe is not None:
        raise ConfigError(f"probe={config.probe} is for data without labels, and {data.name} has some: remove it.")
    target = _target_of_task(config)
    if target not in ("", data.target):
        raise ConfigError(
            f"task={name_of(config.task)} is for targets of the kind {target!r}, and those of {data.name} are "
            f"{data.target!r}: choose another task or other data."
        )
    if target:
        data = replace(data, task=name_of(config.task), source_options={**data.source_options, "task": config.task})
    if not config.streams:
        return data
    unlimited = config.model_copy(update={"limit": None, "labels_per_class": None})
    return with_streams(data, config, partial(_loaded, unlimited, provided, loaded), streams or {})


def _for_backbones(data: DataModule, config: Config) -> DataModule:
    """Return data without labels for the task that takes the configured one's place.

    Raises: ConfigError if the configured task, or the data's own, requires labels.
    """
    name = name_of(config.task)
    if data.task != UNLABELLED:
        raise ConfigError(
            f"{data.name} has no labels, which {data.task} requires: name it beside data that has some, "
            f"data={{labelled: …, unlabelled: {data.name}}}."
        )
    if name in ("auto", data.task):
        return data
    task = registry.find_entry("tasks", name).load()
    if not task.without_labels:
        raise ConfigError(f"task={name} requires labels, and {data.name} has none: use task=embedding, or other data.")
    if options := options_of(config.task):
        raise ConfigError(
            f"task={name}: {', '.join(options)}: data without labels has no task loss, and each network's vectors have "
            "its own size: remove them."
        )
    return replace(data, task=task.without_labels)


def load_probe(config: Config, data: DataModule) -> DataModule | None:
    """Return the labelled data of `probe`; None if there is none.

    Raises: ConfigError if it isn't classified images of as many channels.
    """
    if config.probe is None:
        return None
    probe = datasets.load(config.probe, size=config.size, seed=config.data_seed, reading=config.reading)
    if probe.target != "label" or probe.channels != data.channels or probe.modality != data.modality:
        raise ConfigError(
            f"probe={config.probe} has {probe.target!r} targets and {probe.channels} channels of {probe.modality} "
            f"data: expected one class per sample and {data.channels} channels, as {data.name} has."
        )
    return probe


def _target_of_task(config: Config) -> str:
    """Return the kind of targets of any data that the task is for; empty if the data must name the task itself."""
    task = _task_of_config(config)
    return "" if task is None else task.target


def _task_of_config(config: Config) -> type[Task] | None:
    """Return the class of the configured task; None if the data names it."""
    name = name_of(config.task)
    return None if name == "auto" else registry.find_entry("tasks", name).load()


def with_teacher_views(data: DataModule, config: Config, peers: Sequence[DataModule] = ()) -> DataModule:
    """Return the data, whose batches have the views of the configuration's teachers, and of peers, of other inputs."""
    return with_views(data, [view_inputs(data, teacher.teacher_inputs) for teacher in config.each_teacher()] + [*peers])


def _with_note_of_unused_augment(data: DataModule, config: Config) -> DataModule:
    """Return the data with a note if an augmentation is for none of the inputs that the models get."""
    chosen = [peer["inputs"] for peer in config.each_peer]
    chosen += [teacher.teacher_inputs for teacher in config.each_teacher()]
    seen = {word for inputs in chosen for word in parse_augment(view_inputs(data, inputs).augment)}
    unused = [word for word in parse_augment(config.augment or "none") if word not in {*seen, "none"}]
    if not unused:
        return data
    names = " and ".join(sorted({str(inputs) for inputs in chosen}))
    note = f"augment={'+'.join(unused)} has no effect: the models get {names} of {data.name}, which have none such."
    return replace(data, notes=(*data.notes, note))


def _loaded(
    config: Config, provided: DataModule | DatasetSource | None, loaded: MutableMapping[str, DataModule]
) -> DataModule:
    keys = ("val", "limit", "labels_per_class", "augment", "fingerprint", "split")
    options = {key: getattr(config, key) for key in keys} | {"seed": config.data_seed}
    name, kind = name_of(config.task), _task_of_config(config)
    if kind is not None and config.augment is None:
        options["augment"] = kind.augment
    task = None if name == "auto" or config.column or _target_of_task(config) else name
    if provided is None:
        options |= {key: getattr(config, key) for key in (*SOURCE_OPTIONS, "judged_on")}
        options |= {"name": config.data, "size": config.size, "classes": config.classes, "task": task}
        return _load_once(options, loaded)
    if isinstance(provided, DatasetSource):
        is_sealed = config.judged_on == "val" and config.split == "samples"  # else all splits are joined first
        return provided.data(size=height_and_width(config.size), task=task, is_sealed=is_sealed, **options)
    if task not in (None, provided.task):
        raise ConfigError(f"task={task}, but {provided.name} is data for {provided.task}; leave task out.")
    return prepare_data(provided.name, provided, size=height_and_width(config.size), classes=config.classes, **options)


def _load_once(options: Mapping[str, Any], loaded: MutableMapping[str, DataModule]) -> DataModule:
    """Load data by name, unless they were loaded so before; what was computed of them then isn't kept."""
    address = repr(sorted(options.items()))
    if address not in loaded:
        loaded[address] = datasets.load(**options)
    return replace(loaded[address])
