"""Models that are fitted, as a dry run has them: fitted to the first samples of the data."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.models.estimators import kinds
from tutelage.models.estimators.module import FittedEstimator

TRIAL = 256
"""The number of training samples of a dry run's fit."""


def unnormalised(data: DataModule) -> DataModule:
    """Return the data with its inputs in their own units."""
    return replace(data, mean=(0.0,) * data.channels, std=(1.0,) * data.channels)


def first_fit(name: str, data: DataModule, classifies: bool) -> FittedEstimator:
    """Return a model as a dry run has it: fitted to the first samples, without a teacher.

    Raises: ConfigError if the data isn't a table.
    """
    if data.modality != "table":
        raise ConfigError(f"{name} is for tables' rows, and {data.name} has {data.modality} inputs: name a network.")
    batch = next(unnormalised(data).batches("train", TRIAL, train=False))
    assert isinstance(batch.inputs, Tensor)
    columns = data.input_names or tuple(f"x{k}" for k in range(data.channels))
    classes = data.classes if classifies else ()
    return kinds.parse(name).fit(batch.inputs, None, batch.targets, classes=classes, columns=columns, seed=0)
