"""Class names and labels that the user's Datasets provide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from tutelage.data.field_items import Fields
from tutelage.data.items import TARGETS
from tutelage.errors import ConfigError


def class_names(
    dataset: Any, classes: int | Sequence[str] | None, fields: Fields | None = None
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Return the class names, and which of them are selected (None: all).

    A proper subset of the Dataset's own names, or another order of them, selects these classes; other names rename the
    classes.
    Raises: ConfigError for a value that is neither names nor a number, and if there are no class names.
    """
    dataset_names = dataset_class_names(dataset, fields)
    if classes is None and dataset_names:
        return dataset_names, None
    if isinstance(classes, int | np.integer) and not isinstance(classes, bool) and classes > 0:
        return tuple(map(str, range(classes))), None
    names = tuple(classes) if isinstance(classes, Iterable) and not isinstance(classes, str | Tensor) else ()
    if not names or not all(isinstance(name, str) for name in names) or len({*names}) < len(names):
        hint = "the Dataset has no `classes`: " if classes is None else ""
        raise ConfigError(f"classes={classes!r}: {hint}expected their number, or a list of their names, each once.")
    return (dataset_names, names) if names != dataset_names and {*names} <= {*dataset_names} else (names, None)


def dataset_class_names(dataset: Any, fields: Fields | None = None) -> tuple[str, ...]:
    """Return a Dataset's class names, as in torchvision (`classes`) or Hugging Face (`features`); () if it has none."""
    if isinstance(dataset, Subset):
        return dataset_class_names(dataset.dataset, fields)
    if isinstance(dataset, ConcatDataset):
        part_names = {dataset_class_names(part, fields) for part in dataset.datasets}
        return part_names.pop() if len(part_names) == 1 else ()
    names = getattr(dataset, "classes", None)
    features = getattr(dataset, "features", None)
    if names is None and isinstance(features, Mapping):
        labels = TARGETS if fields is None else fields[1:]
        feature_names = [features[name].names for name in labels if hasattr(features.get(name), "names")]
        names = feature_names[0] if len(feature_names) == 1 else None
    if names is None or isinstance(names, str) or not isinstance(names, Sequence):
        return ()
    return tuple(name if isinstance(name, str) else ", ".join(map(str, name)) for name in names)


def target_labels(dataset: Any, classes: Sequence[str]) -> list[Tensor]:
    """Return candidate labels (N,) from the Dataset's `targets`, likeliest first; empty if it has none.

    They are candidates only: the labels of its items decide.
    """
    targets = getattr(dataset, "targets", None)
    if targets is None or not hasattr(targets, "__len__") or len(targets) != len(dataset):
        return []
    candidates, target_transform = [targets], getattr(dataset, "target_transform", None)
    if callable(target_transform):
        try:
            candidates.insert(0, [target_transform(target) for target in targets])
        except Exception:  # the user's code may raise anything; the labels are then read from the items
            candidates = []
    return [labels for candidate in candidates if (labels := _class_numbers(candidate, classes)) is not None]


def _class_numbers(labels: Any, classes: Sequence[str]) -> Tensor | None:
    """Return (N,) int64, if the labels are numbers or names of classes."""
    numbers = {name: number for number, name in enumerate(classes)}
    if any(isinstance(label, str) for label in labels):
        labels = [numbers.get(label, -1) for label in labels]
    try:
        tensor = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError):
        return None
    return None if tensor.dim() != 1 or tensor.is_floating_point() or tensor.is_complex() else tensor.long()
