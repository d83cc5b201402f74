"""Data returned by the user's function."""

from __future__ import annotations

from tutelage.data.data_module import DataModule
from tutelage.data.from_datasets import DatasetSource
from tutelage.data.own_classes import dataset_class_names
from tutelage.data.own_code import call_user_code, import_function
from tutelage.data.preparation import SourceData
from tutelage.errors import DataError

NAMES = {"python:MODULE:FUNCTION": "the result of your FUNCTION() in MODULE: a DataModule, or Datasets (train, test)"}


def find(kind: str, where: str, size: tuple[int, int] | None, *, is_sealed: bool = False) -> DataModule | SourceData:
    """Call the function; a DataModule is returned unchanged, two map-style Datasets, whose train has `classes`, as
    SourceData; is_sealed: without reading test.
    """
    function = import_function("data", where)
    result = call_user_code(f"data 'python:{where}': {where.partition(':')[2]}", function)
    if isinstance(result, DataModule):
        return result
    if not isinstance(result, tuple) or len(result) != 2:
        raise DataError(
            f"data 'python:{where}': got {type(result).__name__}, expected DataModule or Datasets (train, test)."
        )
    names = dataset_class_names(result[0])
    if not names:
        raise DataError(f"data 'python:{where}': train has no `classes`: set them, or return from_datasets(…).")
    return DatasetSource(dict(zip(("train", "test"), result, strict=True))).to_source_data(
        names, "classification", size, is_sealed
    )
