"""Which samples make which batch: functions of their arguments, so that any batch of any epoch can be named again."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.errors import ConfigError, unknown

ORDERS = ("shuffled", "pairs", "grouped", "overlapping")


def epoch_batches(
    count: int,
    batch_size: int,
    *,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
    rank: int = 0,
    world: int = 1,
    weights: Tensor | None = None,
) -> list[Tensor]:
    """The sample numbers of each batch of one epoch, as rank `rank` of `world` gets them.

    Shuffled (training): every rank gets the same number of batches, the first samples being repeated where needed; a
    last batch of one sample is left out (batch normalisation fails on it), unless it is the only one. weights (N,):
    then as many are drawn as there are, each by its weight and again and again.
    In order (evaluation): each sample once over all ranks.
    """
    if not count:
        return []
    order = torch.arange(count)
    if shuffle:
        generator = torch.Generator().manual_seed((seed * 1000003 + epoch) % 2**63)
        even = -(-count // world) * world
        if weights is None:
            order = torch.randperm(count, generator=generator)
        else:
            order = torch.multinomial(weights, count, replacement=True, generator=generator)
        order = order[torch.arange(even) % count]
    mine = order[rank::world]
    batches = [mine[i : i + batch_size] for i in range(0, len(mine), batch_size)]
    if shuffle and batch_size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
        batches.pop()
    return batches


def steps(count: int, batch_size: int, world: int = 1) -> int:
    """How many batches a training epoch has on each rank: len(walk(…))."""
    full, rest = divmod(-(-count // world), batch_size)
    return full + (rest > 1 or (rest == 1 and full == 0))


def compose_batches(
    lots: list[Tensor],
    order: str = "shuffled",
    *,
    labels: Tensor | None = None,
    each: int = 1,
    copies: int = 1,
    before: Tensor | None = None,
    seed: int = 0,
    epoch: int = 0,
) -> list[list[Tensor]]:
    """What a scheme asks of the batches: the parts that each consists of, one list of lots a part.

    "shuffled": as they are. "pairs": the samples, then a companion of each one's class. "grouped": the samples, then
    `each` companions of each. "overlapping": the lot before, then the samples; `before` the first comes that one.
    copies: how often each part comes. Parts stand side by side in a batch, so there are as many batches as lots.
    Raises: ConfigError for an unknown order, or if companions are asked for and the samples' classes aren't known.
    """
    if order not in ORDERS:
        raise ConfigError(unknown("order", order, ORDERS))
    parts = [lots]
    if order in ("pairs", "grouped"):
        if labels is None:
            raise ConfigError(f"order={order!r} puts samples of one class together, which needs each sample's class.")
        near = companions(labels, each if order == "grouped" else 1, seed, epoch)
        parts = [lots, [near[lot].flatten() for lot in lots]]
    if order == "overlapping" and lots:
        assert before is not None
        parts = [[before, *lots[:-1]], lots]
    return parts * copies


def companions(labels: Tensor, each: int, seed: int, epoch: int) -> Tensor:
    """For every sample `each` others of its class: labels (N,) -> (N, each) sample numbers.

    In each epoch a class's samples stand in a random circle, and the next ones are a sample's companions. So every
    sample is as often a companion, all are different, and it is its own only where its class has no more.
    """
    generator = torch.Generator().manual_seed((seed * 1000003 + epoch + 2**61) % 2**63)
    shuffled = torch.randperm(len(labels), generator=generator)
    circle = shuffled[labels[shuffled].argsort(stable=True)]
    counts = torch.bincount(labels)
    begins, sizes = (counts.cumsum(0) - counts)[labels], counts[labels]
    place = torch.empty_like(circle)
    place[circle] = torch.arange(len(labels))
    steps = (place - begins)[:, None] + 1 + torch.arange(each)
    return circle[begins[:, None] + steps % sizes[:, None]]


def stratified(labels: Tensor, seed: int) -> Tensor:
    """A random order of the samples of which every beginning has the classes in their proportions, to within one.

    labels (N,) -> (N,) sample numbers. The k-th of the n samples of a class stands at (k + ½) / n.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed % 2**63))
    labels = labels[order]
    place = torch.empty(len(labels), dtype=torch.float64)
    for label in range(int(labels.max()) + 1):
        own = labels == label
        place[own] = (torch.arange(int(own.sum()), dtype=torch.float64) + 0.5) / own.sum()
    return order[place.argsort(stable=True)]


def few_per_class(labels: Tensor, each: int, seed: int) -> Tensor:
    """`each` random samples of every class (all of a class that has fewer): labels (N,) -> sorted sample numbers."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed % 2**63))
    labels = labels[order]
    chosen = [order[labels == label][:each] for label in range(int(labels.max()) + 1)]
    return torch.cat(chosen).sort().values
