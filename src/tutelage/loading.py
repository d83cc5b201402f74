"""The data that a configuration asks for."""

from __future__ import annotations

from tutelage import data as datasets
from tutelage.config import Config
from tutelage.data.base import Data
from tutelage.errors import ConfigError


def load_data(config: Config, given: Data | None = None) -> Data:
    """The data that a configuration names, or what was given in its place; only one label column if it says so.

    Raises: ConfigError if its limit can't hold a sample of each class, or there is no such column.
    """
    data = given or _named(config)
    return data if config.column is None else data.column(config.column)


def _named(config: Config) -> Data:
    loaded = datasets.load(
        config.data,
        size=config.size,
        val=config.val,
        seed=config.seed,
        limit=config.limit,
        labels_per_class=config.labels_per_class,
        augment=config.augment,
        classes=config.classes,
        task=None if config.task == "auto" or config.column else config.task,
    )
    if config.limit is not None and config.limit < len(loaded.classes) and loaded.train.labels is not None:
        raise ConfigError(
            f"limit={config.limit} training samples can't hold the {len(loaded.classes)} classes of {config.data}; "
            "raise it, or use labels_per_class."
        )
    return loaded
