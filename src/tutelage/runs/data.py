"""The data that a configuration asks for."""

from __future__ import annotations

from tutelage import data as datasets
from tutelage.config.schema import Config
from tutelage.data.data_module import DataModule
from tutelage.data.from_datasets import DatasetSource
from tutelage.data.preparation import height_and_width, prepare_data
from tutelage.errors import ConfigError


def load_data(config: Config, given: DataModule | DatasetSource | None = None) -> DataModule:
    """The data that a configuration names, or what was given in its place; only one label column if it says so.

    Raises: ConfigError if its limit can't hold a sample of each class, if there is no such column, or if what was given
    isn't for that task or says another batch size.
    """
    data = _loaded(config, given)
    if config.limit is not None and config.limit < len(data.classes) and data.train.labels is not None:
        raise ConfigError(
            f"limit={config.limit} training samples can't hold the {len(data.classes)} classes of {data.name}; "
            "raise it, or use labels_per_class."
        )
    overrides = data.loader_keys.get("batch_size", config.batch_size)
    if overrides != config.batch_size:
        raise ConfigError(
            f"batch_size={config.batch_size}, but the DataLoader of train says {overrides}: say it once, or give its "
            "Dataset."
        )
    return data if config.column is None else data.column(config.column)


def _loaded(config: Config, given: DataModule | DatasetSource | None) -> DataModule:
    keys = ("val", "seed", "limit", "labels_per_class", "augment", "fingerprint")
    options = {key: getattr(config, key) for key in keys}
    task = None if config.task == "auto" or config.column else config.task
    if given is None:
        return datasets.load(config.data, size=config.size, classes=config.classes, task=task, **options)
    if isinstance(given, DatasetSource):
        return given.data(size=height_and_width(config.size), task=task, **options)
    if task not in (None, given.task):
        raise ConfigError(f"task={task}, but {given.name} is data for {given.task}; leave task out.")
    return prepare_data(given.name, given, size=height_and_width(config.size), classes=config.classes, **options)
