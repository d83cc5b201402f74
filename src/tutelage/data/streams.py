"""Streams: labelled training samples, and others without labels, that share each batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tutelage.data.batch_sampler import epoch_batches, steps_per_epoch
from tutelage.errors import ConfigError


@dataclass(frozen=True)
class Stream:
    """One part of the training samples.

    Args:
        name: one of `utils.stream_names.STREAMS`.
        start: the number of its first sample.
        count: the number of its samples.
        share: its part of each batch.
        source: the name of its data.
    """

    name: str
    start: int
    count: int
    share: float
    source: str


def refuse_composed(name: str, streams: Sequence[Stream], sampling: str, num_views: int) -> None:
    """Refuse batches that a scheme makes up itself, of data with streams.

    Raises: ConfigError.
    """
    if sampling != "shuffled" or num_views > 1:
        raise ConfigError(
            f"data {name!r} has the streams {', '.join(stream.name for stream in streams)}, and this scheme makes up "
            "batches of its own: use another scheme, or labelled data alone."
        )


Lap = tuple[int, list[Tensor]]
"""The number of a pass over a stream, and batches of it."""


def stream_sizes(streams: Sequence[Stream], batch_size: int) -> list[int]:
    """Return each stream's samples of a batch: its share, rounded so that they add up, and at least 1.

    Raises: ConfigError if the batch has fewer samples than there are streams.
    """
    if batch_size < len(streams):
        names = ", ".join(stream.name for stream in streams)
        raise ConfigError(f"batch_size={batch_size} for the streams {names}: expected a sample of each or more.")
    sizes = [max(1, int(stream.share * batch_size + 1e-9)) for stream in streams]
    while (rest := batch_size - sum(sizes)) != 0:
        fraction = [stream.share * batch_size - size for stream, size in zip(streams, sizes, strict=True)]
        candidates = [number for number, size in enumerate(sizes) if rest > 0 or size > 1]
        chosen = (max if rest > 0 else min)(candidates, key=lambda number: fraction[number])
        sizes[chosen] += 1 if rest > 0 else -1
    return sizes


def stream_steps(streams: Sequence[Stream], batch_size: int, world: int = 1) -> int:
    """Return the batches of an epoch on each rank: as many as the stream requires that takes the longest."""
    sizes = stream_sizes(streams, batch_size)
    return max(steps_per_epoch(stream.count, size, world) for stream, size in zip(streams, sizes, strict=True))


def stream_laps(
    streams: Sequence[Stream], batch_size: int, *, seed: int, epoch: int, start: int, rank: int, world: int
) -> list[list[Lap]]:
    """Return each stream's batches of an epoch from batch `start` on, pass by pass: a function of the arguments only.

    A stream that is shorter than the epoch begins again, each time in another order.
    """
    steps = stream_steps(streams, batch_size, world)
    result = []
    for stream, size in zip(streams, stream_sizes(streams, batch_size), strict=True):
        own_steps = steps_per_epoch(stream.count, size, world)
        laps: list[Lap] = []
        for position in range(epoch * steps + start, (epoch + 1) * steps):
            lap, number = divmod(position, own_steps)
            if not laps or laps[-1][0] != lap:
                laps.append((lap, []))
                batches = epoch_batches(stream.count, size, seed=seed, epoch=lap, rank=rank, world=world)
            laps[-1][1].append(stream.start + batches[number])
        result.append(laps)
    return result
