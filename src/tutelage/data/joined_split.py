"""Several splits, one after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from tutelage.data.splits import Sample, Split, ViewSeed
from tutelage.structures import Inputs, JoinedInputs


class JoinedSplit(Split):
    """The samples of several splits, one after the other; rows: (N,) the numbers of those in use (None: all).

    Images in memory are resized to those of the first part, if their sizes differ. Targets are None unless each part
    in a batch has some.
    """

    def __init__(self, parts: Sequence[Split], rows: Tensor | None = None) -> None:
        sizes = torch.tensor([len(part) for part in parts])
        self.parts = parts
        self.rows = torch.arange(int(sizes.sum())) if rows is None else rows
        self.ends = sizes.cumsum(0)
        self.starts = self.ends - sizes
        self.labels = self._of_parts([part.labels for part in parts])
        self.is_random = any(part.is_random for part in parts)
        self.can_crop = all(part.can_crop for part in parts)

    @property
    def values(self) -> Tensor | None:
        """The targets of floats; None if some samples have none."""
        return self._of_parts([part.values for part in self.parts])

    def _of_parts(self, columns: Sequence[Tensor | None]) -> Tensor | None:
        """Return the rows in use of the parts' columns; None if a part in use has none."""
        owners = torch.bucketize(self.rows, self.ends, right=True)
        used = [columns[number] for number in owners.unique().tolist()]
        if not used or any(column is None for column in used):
            return None
        like = next(column for column in used if column is not None)
        filled = [
            like.new_zeros(len(part), *like.shape[1:]) if column is None else column
            for part, column in zip(self.parts, columns, strict=True)
        ]
        return torch.cat(filled)[self.rows]

    @property
    def image_size(self) -> tuple[int, int] | None:
        """The first part's height and width."""
        return self.parts[0].image_size

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Tensor) -> Self:
        """Select some of the samples."""
        return type(self)(self.parts, self.rows[rows])

    def fingerprinted_by(self, content: bool) -> Self:
        """Return the same samples, fingerprinted so."""
        return type(self)([part.fingerprinted_by(content) for part in self.parts], self.rows)

    def read(self, batches: Sequence[Tensor], augmentation: ViewSeed, workers: int = 0) -> Iterator[Sample]:
        """Yield the batches, put together from those of the parts."""
        owners = [torch.bucketize(self.rows[batch], self.ends, right=True) for batch in batches]
        streams = [
            part.read(
                [
                    self.rows[batch][owner == number] - self.starts[number]
                    for batch, owner in zip(batches, owners, strict=True)
                    if (owner == number).any()
                ],
                augmentation,
                workers,
            )
            for number, part in enumerate(self.parts)
        ]
        for owner in owners:
            pieces = [next(streams[number]) for number in owner.unique().tolist()]
            order = owner.argsort(stable=True).argsort()
            targets = [y for _, y in pieces if y is not None]
            joined = _join_targets(targets, order) if len(targets) == len(pieces) else None
            yield _join([self._sized(x) for x, _ in pieces], order), joined

    def _sized(self, inputs: Inputs) -> Inputs:
        """Return images at the size of the first part's."""
        size = self.image_size
        if size is None or not isinstance(inputs, Tensor) or tuple(inputs.shape[2:]) == size:
            return inputs
        from torchvision.transforms import functional as TF

        return TF.resize(inputs, list(size), antialias=True)

    def fingerprint(self) -> str:
        """Hash the parts' fingerprints and the rows."""
        parts = [part.fingerprint() for part in self.parts]
        return hashlib.sha256(f"{parts} {self.rows.tolist()}".encode()).hexdigest()


def _join_targets(pieces: Sequence[Any], order: Tensor) -> Any:
    """Return the targets, or the lists of objects, in this order."""
    if isinstance(pieces[0], Tensor):
        return torch.cat(list(pieces))[order]
    objects = [of_sample for piece in pieces for of_sample in piece]
    return [objects[number] for number in order.tolist()]


def _join(pieces: Sequence[Any], order: Tensor) -> Any:
    """Return the concatenated inputs, by field if there are several, in this order."""
    if isinstance(pieces[0], Tensor):
        return torch.cat(list(pieces))[order]
    if isinstance(pieces[0], JoinedInputs):
        return pieces[0].concatenate(pieces).take(order)
    return {name: torch.cat([piece[name] for piece in pieces])[order] for name in pieces[0]}
