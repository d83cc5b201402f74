"""What a Dataset says of its classes: their names, and which class each sample is of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from tutelage.data.items import TARGETS, Field
from tutelage.errors import ConfigError


def class_names(
    dataset: Any, said: int | Sequence[str] | None, fields: tuple[Field, Field] | None = None
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """The classes' names, and which of them alone are asked for (None: all).

    Names that a Dataset says itself, but fewer of them or in another order, ask for these; others rename the classes.
    Raises: ConfigError for what is neither names nor a number, and if nobody says them.
    """
    own = own_names(dataset, fields)
    if said is None and own:
        return own, None
    if isinstance(said, int | np.integer) and not isinstance(said, bool) and said > 0:
        return tuple(map(str, range(said))), None
    listed = tuple(said) if isinstance(said, Iterable) and not isinstance(said, str | Tensor) else ()
    if not listed or not all(isinstance(name, str) for name in listed) or len({*listed}) < len(listed):
        hint = "the Dataset has no `classes`: " if said is None else ""
        raise ConfigError(f"classes={said!r}: {hint}expected how many there are, or a list of their names, each once.")
    return (own, listed) if listed != own and {*listed} <= {*own} else (listed, None)


def own_names(dataset: Any, fields: tuple[Field, Field] | None = None) -> tuple[str, ...]:
    """The names that a Dataset says, as torchvision's do (`classes`) or those of Hugging Face; () if it says none."""
    if isinstance(dataset, Subset):
        return own_names(dataset.dataset, fields)
    if isinstance(dataset, ConcatDataset):
        several = {own_names(part, fields) for part in dataset.datasets}
        return several.pop() if len(several) == 1 else ()
    found = getattr(dataset, "classes", None)
    features = getattr(dataset, "features", None)
    if found is None and isinstance(features, Mapping):
        labels = TARGETS if fields is None else fields[1:]
        named = [features[name].names for name in labels if hasattr(features.get(name), "names")]
        found = named[0] if len(named) == 1 else None
    if found is None or isinstance(found, str) or not isinstance(found, Sequence):
        return ()
    return tuple(name if isinstance(name, str) else ", ".join(map(str, name)) for name in found)


def labels_said(dataset: Any, classes: Sequence[str]) -> list[Tensor]:
    """The class of each sample (N,) as the Dataset's `targets` have it, likeliest first; nothing if it has none.

    Claims only: what its items say counts.
    """
    targets = getattr(dataset, "targets", None)
    if targets is None or not hasattr(targets, "__len__") or len(targets) != len(dataset):
        return []
    claims, change = [targets], getattr(dataset, "target_transform", None)
    if callable(change):
        try:
            claims.insert(0, [change(target) for target in targets])
        except Exception:  # the user's code may raise anything; then the items say what it gives
            claims = []
    return [found for claim in claims if (found := _numbers(claim, classes)) is not None]


def _numbers(labels: Any, classes: Sequence[str]) -> Tensor | None:
    """(N,) int64, if they are numbers or names of classes."""
    places = {name: number for number, name in enumerate(classes)}
    if any(isinstance(label, str) for label in labels):
        labels = [places.get(label, -1) for label in labels]
    try:
        found = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError):
        return None
    return None if found.dim() != 1 or found.is_floating_point() or found.is_complex() else found.long()
