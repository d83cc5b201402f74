"""Splits whose samples are recordings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from tutelage.data.augment import random_bits, to_integers
from tutelage.data.recordings import SoundForm, place, read_waveform
from tutelage.data.splits import LazySplit, Sample, ViewSeed


class SoundSplit(LazySplit):
    """Recordings of one rate and length, (1, T), with their classes or their targets (N, T) of floats.

    In evaluation the middle of a longer recording is read, and zeros follow a shorter one; a training view with
    augment=time-crop takes a random part, or puts it at a random place among zeros.

    Args:
        paths: the files.
        form: the form of all samples.
        waveforms: the whole recordings, if they are held in memory.
        labels, targets, groups: of each recording, if there are any.
    """

    can_crop = True

    def __init__(
        self,
        paths: Sequence[Path],
        form: SoundForm,
        waveforms: Sequence[Tensor] | None = None,
        *,
        labels: Tensor | None = None,
        targets: Tensor | None = None,
        groups: Tensor | None = None,
    ) -> None:
        self.paths, self.form, self.waveforms = tuple(paths), form, waveforms
        self.labels, self.targets, self.groups, self.rate = labels, targets, groups, form.rate

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def values(self) -> Tensor | None:
        """The targets of floats."""
        return self.targets

    def take(self, rows: Tensor) -> Self:
        """Select some of the recordings."""
        numbers = rows.tolist()
        waveforms = None if self.waveforms is None else [self.waveforms[i] for i in numbers]
        columns = {"labels": self.labels, "targets": self.targets, "groups": self.groups}
        chosen = {name: None if column is None else column[rows] for name, column in columns.items()}
        selected = type(self)([self.paths[i] for i in numbers], self.form, waveforms, **chosen)
        selected.content = self.content
        return selected

    def item(self, number: int, augmentation: ViewSeed) -> Sample:
        """Return `length` samples of a recording, and its target."""
        read = self.waveforms is None
        waveform = read_waveform(self.paths[number], self.form) if read else self.waveforms[number]  # type: ignore[index]
        extra = waveform.shape[-1] - self.form.length
        start = max(extra, 0) // 2
        if augmentation.time_crop:
            bits = random_bits(augmentation.seed, torch.tensor([number]), augmentation.view, 1)
            start = int(to_integers(bits[0, 0], abs(extra) + 1))
        targets = self.labels if self.targets is None else self.targets
        return place(waveform, self.form.length, start), None if targets is None else targets[number]

    def fingerprint(self) -> str:
        """Hash the files' names, sizes and targets, and the form; the files' contents only if `content` is set."""
        digest = hashlib.sha256(str(self.form).encode())
        for path in self.paths:
            digest.update(f"{path.parent.name}/{path.name} {path.stat().st_size}\n".encode(errors="surrogateescape"))
            if self.content:
                digest.update(path.read_bytes())
        for column in (self.labels, self.targets, self.groups):
            if column is not None:
                digest.update(column.numpy().data)
        return digest.hexdigest()
