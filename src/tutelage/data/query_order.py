"""Which queries form which batch: whole queries, a function of seed and epoch, so that any batch can be reproduced."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.errors import ConfigError


def query_batches(
    groups: Tensor,
    batch_size: int,
    *,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
    rank: int = 0,
    world: int = 1,
) -> list[Tensor]:
    """Return the sample numbers of each batch of one epoch, for rank `rank` of `world`; no query is in two batches.

    A batch has whole queries of at most `batch_size` documents in total; a query of more is a batch by itself.
    Shuffled (training): queries in random order, in `query_steps` batches on every rank, the first batches being
    repeated where needed; no batch has a single document if that can be avoided. In order (evaluation): each query once
    over all ranks.

    Args:
        groups: (N,) int64, each sample's query; its samples needn't be next to each other.
        batch_size: the most documents per batch of one rank.
        seed, epoch: determine the order.
        shuffle: whether the order of the queries is random.
        rank, world: this process and the number of processes.

    Raises: ConfigError if batch_size is below 1.
    """
    if not len(groups):
        return []
    query, sizes = groups.unique(return_inverse=True, return_counts=True)[1:]
    documents = query.argsort(stable=True).split(sizes.tolist())
    if shuffle:
        generator = torch.Generator().manual_seed((seed * 1000003 + epoch) % 2**63)
        parts = _shuffled(torch.randperm(len(sizes), generator=generator), sizes, batch_size)
        parts = [parts[k % len(parts)] for k in range(-(-len(parts) // world) * world)]
    else:
        parts = _next_fit(range(len(sizes)), sizes.tolist(), batch_size)
    return [torch.cat([documents[q] for q in part]) for part in parts[rank::world]]


def query_steps(groups: Tensor, batch_size: int, world: int = 1) -> int:
    """Return the number of batches of a training epoch on each rank, the same in all epochs.

    Raises: ConfigError if batch_size is below 1.
    """
    return -(-_batches_of_epoch(groups.unique(return_counts=True)[1], batch_size) // world)


def _batches_of_epoch(sizes: Tensor, batch_size: int) -> int:
    """Return the number of batches if queries are laid by descending size, and a 16th more, for any random order."""
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: expected 1 or more.")
    least = len(_first_fit(sizes.argsort(descending=True, stable=True), sizes.tolist(), batch_size))
    return min(len(sizes), least + -(-(least - 1) // 16))


def _shuffled(order: Tensor, sizes: Tensor, batch_size: int) -> list[list[int]]:
    """Divide the queries, in this order, among as many batches as every epoch has."""
    count = _batches_of_epoch(sizes, batch_size)
    batches = _first_fit(order, sizes.tolist(), batch_size)
    if len(batches) > count:  # an unlucky order
        descending = order[sizes[order].argsort(descending=True, stable=True)]
        batches = _first_fit(descending, sizes.tolist(), batch_size)
        batches = [batches[k] for k in order[order < len(batches)].tolist()]
    while len(batches) < count:
        longest = max(range(len(batches)), key=lambda k: len(batches[k]))
        middle = len(batches[longest]) // 2
        batches[longest : longest + 1] = [batches[longest][:middle], batches[longest][middle:]]
    _enlarge_single(batches, sizes.tolist())
    return batches


def _enlarge_single(batches: list[list[int]], sizes: Sequence[int]) -> None:
    """Move a query to each batch of a single document, on which batch normalisation fails, if one can be spared."""
    for batch in batches:
        if sum(sizes[query] for query in batch) == 1:
            donor = max(batches, key=len)
            smallest = min(donor, key=lambda query: sizes[query])
            if len(donor) > 1 and sum(sizes[query] for query in donor) - sizes[smallest] > 1:
                donor.remove(smallest)
                batch.append(smallest)


def _first_fit(order: Tensor, sizes: Sequence[int], batch_size: int) -> list[list[int]]:
    """Put each query in the first batch that has room for it, else in a new one."""
    batches: list[list[int]] = []
    room: dict[int, int] = {}  # of the batches that aren't full
    smallest = min(sizes)
    for query in order.tolist():
        size = sizes[query]
        number = next((number for number, free in room.items() if size <= free), len(batches))
        if number == len(batches):
            batches.append([])
            room[number] = batch_size
        batches[number].append(query)
        room[number] -= size
        if room[number] < smallest:
            del room[number]
    return batches


def _next_fit(order: Sequence[int], sizes: Sequence[int], batch_size: int) -> list[list[int]]:
    """Put each query in the last batch if it has room for it, else in a new one."""
    batches: list[list[int]] = []
    room = 0
    for query in order:
        if not batches or sizes[query] > room:
            batches.append([])
            room = batch_size
        batches[-1].append(query)
        room -= sizes[query]
    return batches
