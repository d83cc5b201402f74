"""Data that a function of yours makes."""

from __future__ import annotations

from tutelage.data.data_module import DataModule
from tutelage.data.from_datasets import Datasets
from tutelage.data.own_classes import own_names
from tutelage.data.own_code import called, function_of
from tutelage.data.preparation import SourceData
from tutelage.errors import DataError

NAMES = {"python:MODULE:FUNCTION": "what your FUNCTION() in MODULE returns: Data, or Datasets (train, test)"}


def find(kind: str, where: str, size: tuple[int, int] | None) -> DataModule | SourceData:
    """Data as it is; or what is in two map-style Datasets, of which train has `classes`."""
    function = function_of("data", where)
    made = called(f"data 'python:{where}': {where.partition(':')[2]}", function)
    if isinstance(made, DataModule):
        return made
    if not isinstance(made, tuple) or len(made) != 2:
        raise DataError(
            f"data 'python:{where}': got {type(made).__name__}, expected DataModule or Datasets (train, test)."
        )
    names = own_names(made[0])
    if not names:
        raise DataError(f"data 'python:{where}': train has no `classes`: set them, or return from_datasets(…).")
    return Datasets(dict(zip(("train", "test"), made, strict=True))).found(names, "classification", size)
