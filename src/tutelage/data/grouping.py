"""Groups of samples (queries, patients, speakers), which no two splits share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from tutelage.data.splits import Split
from tutelage.errors import DataError


def group_numbers(names: Sequence[str]) -> Tensor:
    """Number groups in the order of their first sample: N names -> (N,) int64."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([numbers[name] for name in names])


def split_groups(name: str, split: str, groups: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Divide samples into the rest and whole groups of `count` samples or a few more: groups (N,) -> two sets of rows.

    Raises: DataError if there are fewer than two groups.
    """
    members, number = groups.unique(return_inverse=True)
    if len(members) < 2:
        raise DataError(f"data {name!r}: all samples are of one group, so no {split} split can be cut from train.")
    order = torch.randperm(len(members), generator=torch.Generator().manual_seed(seed % 2**63))
    sizes = torch.bincount(number)[order].cumsum(0)
    taken = min(int((sizes < count).sum()) + 1, len(order) - 1)
    inside = torch.isin(number, order[:taken])
    return (~inside).nonzero()[:, 0], inside.nonzero()[:, 0]


def refuse_shared_groups(name: str, splits: Mapping[str, Split]) -> None:
    """Refuse splits that share a group.

    Raises: DataError.
    """
    groups = {split: samples.groups for split, samples in sorted(splits.items()) if samples.groups is not None}
    for (split, numbers), (other, others) in combinations(groups.items(), 2):
        shared = numbers[torch.isin(numbers, others)]
        if len(shared):
            raise DataError(
                f"data {name!r}: {len(shared.unique())} group(s) have samples in both {split} and {other}, whose "
                "metrics would be too good: keep each group in one split."
            )
