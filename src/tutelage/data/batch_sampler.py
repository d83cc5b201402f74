"""Which samples form which batch: functions of their arguments, so that any batch of any epoch can be reproduced."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.errors import ConfigError, unknown

SAMPLINGS = ("shuffled", "pairs", "grouped", "overlapping")


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
    in_order: bool = False,
) -> list[Tensor]:
    """Return the sample numbers of each batch of one epoch, for rank `rank` of `world`.

    Shuffled (training): every rank gets the same number of batches, the first samples being repeated where needed; a
    last batch of one sample is dropped (batch normalisation fails on it), unless it is the only batch.
    In order (evaluation): each sample once over all ranks.

    Args:
        count: the number of samples in the split.
        batch_size: samples per batch of one rank.
        seed, epoch: determine the order.
        shuffle: whether the order is random.
        rank, world: this process and the number of processes.
        weights: (N,) sampling weights; each epoch then draws N samples with replacement.
        in_order: keep the samples in their order where they would be shuffled.
    """
    if not count:
        return []
    order = torch.arange(count)
    if shuffle:
        generator = torch.Generator().manual_seed((seed * 1000003 + epoch) % 2**63)
        padded = -(-count // world) * world
        if weights is not None:
            order = torch.multinomial(weights, count, replacement=True, generator=generator)
        elif not in_order:
            order = torch.randperm(count, generator=generator)
        order = order[torch.arange(padded) % count]
    of_rank = order[rank::world]
    batches = [of_rank[i : i + batch_size] for i in range(0, len(of_rank), batch_size)]
    if shuffle and batch_size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
        batches.pop()
    return batches


def steps_per_epoch(count: int, batch_size: int, world: int = 1) -> int:
    """Return the number of batches of a training epoch on each rank: len(epoch_batches(…))."""
    full, remainder = divmod(-(-count // world), batch_size)
    return full + (remainder > 1 or (remainder == 1 and full == 0))


def compose_batches(
    batches: list[Tensor],
    sampling: str = "shuffled",
    *,
    labels: Tensor | None = None,
    group_size: int = 1,
    num_views: int = 1,
    before: Tensor | None = None,
    seed: int = 0,
    epoch: int = 0,
) -> list[list[Tensor]]:
    """Return the parts that make up a scheme's batches: one list of index batches per part.

    The parts of a batch are concatenated, so there are as many batches as in `batches`.

    Args:
        batches: the sample numbers of each batch, each (B,).
        sampling: "shuffled": the samples only. "pairs": the samples, then one other sample of each one's class.
            "grouped": the samples, then `group_size` others of each one's class. "overlapping": the previous batch,
                then the samples.
        labels: (N,) classes of all samples; required by "pairs" and "grouped".
        group_size: companions per sample for "grouped".
        num_views: how many times each part is repeated, each time with another augmentation.
        before: the batch that precedes the first one, for "overlapping".
        seed, epoch: determine the companions.

    Raises: ConfigError for an unknown sampling, or if it requires classes that aren't known.
    """
    if sampling not in SAMPLINGS:
        raise ConfigError(unknown("sampling", sampling, SAMPLINGS))
    parts = [batches]
    if sampling in ("pairs", "grouped"):
        if labels is None:
            raise ConfigError(
                f"sampling={sampling!r} groups samples of one class, which requires each sample's class: use data "
                "with one class per sample that is known without reading it."
            )
        of_same_class = companions(labels, group_size if sampling == "grouped" else 1, seed, epoch)
        parts = [batches, [of_same_class[index].flatten() for index in batches]]
    if sampling == "overlapping" and batches:
        assert before is not None
        parts = [[before, *batches[:-1]], batches]
    return parts * num_views


def companions(labels: Tensor, group_size: int, seed: int, epoch: int) -> Tensor:
    """For every sample, return `group_size` others of its class: labels (N,) -> (N, group_size) sample numbers.

    Each epoch arranges a class's samples in a random circle; the samples that follow one are its companions. Every
    sample is therefore a companion equally often, all companions are different, and a sample is its own companion only
    if its
    class has no more samples.
    """
    generator = torch.Generator().manual_seed((seed * 1000003 + epoch + 2**61) % 2**63)
    shuffled = torch.randperm(len(labels), generator=generator)
    circle = shuffled[labels[shuffled].argsort(stable=True)]
    counts = torch.bincount(labels)
    starts, sizes = (counts.cumsum(0) - counts)[labels], counts[labels]
    position = torch.empty_like(circle)
    position[circle] = torch.arange(len(labels))
    offsets = (position - starts)[:, None] + 1 + torch.arange(group_size)
    return circle[starts[:, None] + offsets % sizes[:, None]]


def stratified_permutation(labels: Tensor, seed: int) -> Tensor:
    """Return a random order whose every prefix has the classes in their proportions, to within one sample.

    labels (N,) -> (N,) sample numbers. The k-th of the n samples of a class is placed at (k + ½) / n.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed % 2**63))
    labels = labels[order]
    position = torch.empty(len(labels), dtype=torch.float64)
    for label in range(int(labels.max()) + 1):
        members = labels == label
        position[members] = (torch.arange(int(members.sum()), dtype=torch.float64) + 0.5) / members.sum()
    return order[position.argsort(stable=True)]


def sample_per_class(labels: Tensor, count: int, seed: int) -> Tensor:
    """Pick `count` random samples of every class (all, if it has fewer): labels (N,) -> sorted sample numbers."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed % 2**63))
    labels = labels[order]
    samples = [order[labels == label][:count] for label in range(int(labels.max()) + 1)]
    return torch.cat(samples).sort().values


def at_least(minimum: int, **numbers: int) -> None:
    """Refuse numbers below the minimum.

    Raises: ConfigError that names one.
    """
    for name, value in numbers.items():
        if value < minimum:
            raise ConfigError(f"{name}={value}: expected {minimum} or more.")
