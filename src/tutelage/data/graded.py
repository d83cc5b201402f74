"""Documents of queries, with grades, and users' interactions as queries."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tutelage.data.query_files import Array, Interactions
from tutelage.data.splits import InMemorySplit


class GradedSplit(InMemorySplit):
    """Documents (N, D) with grades (N,) float32, in memory, and the query of each row as its group.

    A batch has whole queries, and so has a part of the split.
    """

    whole_groups = True

    def __init__(
        self, inputs: Tensor, targets: Tensor, rows: Tensor | None = None, groups: Tensor | None = None
    ) -> None:
        super().__init__(inputs, targets, rows, groups)
        self.labels = None  # grades are no classes

    @property
    def values(self) -> None:
        """No values: grades aren't estimated, but ordered."""
        return None


def candidate_queries(
    events: Interactions, *, history: int, train_negatives: int, test_negatives: int
) -> dict[str, GradedSplit]:
    """Return splits whose queries are interactions: the item is to rank above items that the user never took.

    A user's last interaction is a query of test, the one before of val, and the earlier ones, but the first, of train;
    users with fewer than four interactions are left out. A query's documents are rows [user, item, items before it,
    the latest last, 0 where there is none], users and items numbered from 1; the first has grade 1, the others are
    negatives, drawn with equal probability by a seed that is always the same.

    Args:
        events: the interactions.
        history: the number of earlier items in a row.
        train_negatives, test_negatives: the number of negatives of a query in train, and in val and test.
    """
    order = np.lexsort((np.arange(len(events.users)), events.times, events.users))
    users, items = events.users[order], events.items[order]
    rng = np.random.default_rng(0)
    parts: dict[str, list[Array]] = {"train": [], "val": [], "test": []}
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(users)], strict=True):
        taken = items[start:stop] + 1
        if len(taken) < 4:
            continue
        others = np.setdiff1d(np.arange(1, len(events.item_names) + 1), taken)
        for place in range(1, len(taken)):
            split = {len(taken) - 1: "test", len(taken) - 2: "val"}.get(place, "train")
            count = min(train_negatives if split == "train" else test_negatives, len(others))
            before = taken[max(0, place - history) : place]
            rows = np.zeros((1 + count, 2 + history), np.float32)
            rows[:, 0] = users[start] + 1
            rows[:, 1] = np.concatenate([taken[place : place + 1], rng.choice(others, count, replace=False)])
            rows[:, 2 + history - len(before) :] = before
            parts[split].append(rows)
    offset = 0
    splits = {}
    for split, queries in parts.items():
        sizes = torch.tensor([len(rows) for rows in queries], dtype=torch.int64)
        grades = torch.zeros(int(sizes.sum()))
        grades[sizes.cumsum(0) - sizes] = 1
        groups = torch.arange(offset, offset + len(sizes)).repeat_interleave(sizes)
        offset += len(sizes)
        inputs = torch.from_numpy(np.concatenate(queries)) if queries else torch.zeros(0, 2 + history)
        splits[split] = GradedSplit(inputs, grades, groups=groups)
    return splits
