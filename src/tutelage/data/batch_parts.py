"""Batches that are put together from several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from tutelage.data.splits import IGNORE
from tutelage.losses.base import IGNORE_INDEX
from tutelage.structures import Batch, concatenate_inputs

UNKNOWN = {"mask": IGNORE, "labels": -1, "label set": -1}
"""The value of a target that isn't known, by the kind of targets; of others IGNORE_INDEX, and NaN of floats."""


def concatenate_parts(parts: Sequence[Batch]) -> Batch:
    """Concatenate the batches of several parts into one, with the parts' sizes in `extras`."""
    targets = [part.targets for part in parts if part.targets is not None]
    index = [part.index for part in parts if part.index is not None]
    inputs = concatenate_inputs([part.inputs for part in parts])
    views = {name: torch.cat([part.views[name] for part in parts]) for name in parts[0].views}
    extras: dict[str, Any] = {"parts": tuple(map(len, parts))}
    if "groups" in parts[0].extras:
        extras["groups"] = torch.cat([part.extras["groups"] for part in parts])
    joined = torch.cat(targets) if targets else None
    objects = [of_sample for part in parts for of_sample in part.objects or []] or None
    more: dict[str, Any] = {"columns": parts[0].columns, "extras": extras, "views": views, "objects": objects}
    return Batch(inputs, joined, torch.cat(index), **more)


def concatenate_streams(parts: Mapping[str, Batch], target: str) -> Batch:
    """Concatenate a batch of each stream into one, whose targets are known of the first alone.

    target: the kind of targets.
    """
    first, *others = parts.values()
    targets = None
    if first.targets is not None:
        targets = torch.cat([first.targets, *(_unknown(first.targets, len(part), target) for part in others)])
    stops = list(accumulate(map(len, parts.values())))
    spans = {name: (stop - len(part), stop) for (name, part), stop in zip(parts.items(), stops, strict=True)}
    views = {name: torch.cat([part.views[name] for part in parts.values()]) for name in first.views}
    inputs = concatenate_inputs([part.inputs for part in parts.values()])
    index = [part.index for part in parts.values() if part.index is not None]
    more: dict[str, Any] = {"columns": first.columns, "views": views, "streams": spans, "objects": first.objects}
    return Batch(inputs, targets, torch.cat(index), **more)


def _unknown(like: Tensor, count: int, target: str) -> Tensor:
    """Return targets that aren't known, in the form of others."""
    default = torch.nan if like.is_floating_point() else IGNORE_INDEX
    return like.new_full((count, *like.shape[1:]), UNKNOWN.get(target, default))
