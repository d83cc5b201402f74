"""Views of the samples' inputs: a field, some of its channels, or another size, for one of several models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tutelage.data import alter, modalities
from tutelage.data.data_module import SPLITS, DataModule
from tutelage.errors import ConfigError, unknown


def view_inputs(
    data: DataModule, inputs: str | Sequence[str] | None = None, size: tuple[int, ...] | None = None
) -> DataModule:
    """Return the data as a model with these inputs sees it.

    Args:
        data: the data, of any view.
        inputs: the name of an input field, or the names of channels such as a table's columns; None: the first field,
            whole.
        size: the size that the inputs are brought to; None: the data's.

    Raises: ConfigError for an unknown name, or a size for inputs that can't be resized.
    """
    if inputs is None and size is None and data.full is None and not data.others:
        return data
    base = data if data.full is None else replace(data.full, **{split: getattr(data, split) for split in SPLITS})
    names = () if inputs is None else (inputs,) if isinstance(inputs, str) else tuple(inputs)
    changes = _selection(base, names) if names else {}
    if size is not None:
        modality = changes.get("modality", base.modality)
        resized = modalities.find(modality).resized(changes.get("size", base.size), size)
        if resized is None:
            raise ConfigError(
                f"data {base.name!r}: size={size}: only images and clips can be resized, and these are {modality}s."
            )
        changes["size"] = resized
    return replace(base, **changes, view=names, full=base, others={}) if changes else replace(base, others={})


def _selection(data: DataModule, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the changes of a DataModule that select a field or channels."""
    if len(names) == 1 and names[0] in data.fields:
        field = data.fields[names[0]]
        kind = modalities.find(field.modality)
        words = [word for word in alter.parse_augment(data.augment) if kind.takes(word)]
        return {"input_name": names[0], "augment": "+".join(words) or "none", **vars(field)}
    known = [*data.fields, *data.input_names]
    if faults := [unknown(f"input of {data.name}", name, known) for name in names if name not in data.input_names]:
        reason = "" if known else ": its inputs have no names, so none can be chosen"
        raise ConfigError((reason and f"inputs={list(names)}: {data.name}{reason}.") or "\n".join(faults))
    if len({*names}) < len(names):
        raise ConfigError(f"inputs={list(names)}: expected each name once.")
    numbers = tuple(data.input_names.index(name) for name in names)
    mean, std = (tuple(values[n] for n in numbers) for values in (data.mean, data.std))
    return {"channel_numbers": numbers, "channels": len(names), "mean": mean, "std": std, "input_names": names}


def view_key(data: DataModule) -> str:
    """Return the name of a view in a batch."""
    return "+".join(data.view) or "all inputs"


def with_views(data: DataModule, others: Sequence[DataModule]) -> DataModule:
    """Return the data, whose batches have in addition the inputs of these other views of it (`Batch.views`)."""
    different = {view_key(other): other for other in others if not same_view(data, other)}
    return replace(data, others=different)


def same_view(data: DataModule, other: DataModule) -> bool:
    """Return whether two views have the same fields, channels and size."""
    return (data.view, data.size) == (other.view, other.size)
