"""Splits whose samples are clips: windows of frames."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from tutelage.data.augment import random_bits, random_crop_box, to_integers
from tutelage.data.clip_files import ClipFiles, check_frame
from tutelage.data.decode import ImageFile, to_tensor
from tutelage.data.image_files import centre_crop, crop_and_resize, file_digest
from tutelage.data.splits import LazySplit, Sample, ViewSeed

SMALL = 64
"""The longest side of frames that are resized whole, and held in memory if there is room."""

PLACE_IN_TIME = 0x74696D65
"""Separates the draw of a window from those of crops at the same address."""


@dataclass(frozen=True)
class WindowOfFrames:
    """The frames of a window: `frames` of them, `stride` apart; others: smaller numbers of frames of the same window.

    With several numbers a sample has several inputs, named after them: frames16, frames4.
    """

    frames: int
    stride: int = 1
    others: tuple[int, ...] = ()

    @property
    def span(self) -> int:
        """The number of a clip's frames from the first to the last."""
        return (self.frames - 1) * self.stride + 1

    def numbers(self, start: int, length: int) -> list[int]:
        """Return the frames' numbers from a start on; the last frame of a clip of that length is repeated."""
        return [min(start + k * self.stride, length - 1) for k in range(self.frames)]

    def inputs(self, window: Tensor) -> Tensor | dict[str, Tensor]:
        """Return a window (C, T, H, W), or it and its evenly spaced parts by name."""
        if not self.others:
            return window
        return {f"frames{count}": window[:, self.part(count)] for count in (self.frames, *self.others)}

    def part(self, count: int) -> list[int]:
        """Return which frames of the window are `count` evenly spaced ones: the middles of as many equal parts."""
        return [(2 * k + 1) * self.frames // (2 * count) for k in range(count)]


class ClipSplit(LazySplit):
    """Windows (C, T, H, W) of clips, uint8, with their classes if there are any.

    In evaluation the middle window is read; a training view with augment=time-crop reads one at random, and with
    augment=resized-crop it crops all its frames alike. With `starts` each sample is a window of its own, which
    time-crop moves by up to half its length. A clip that is shorter than a window repeats its last frame.

    Args:
        clips: the files of each sample's clip.
        window: the form of windows.
        channels, size: of all frames; those of more than 64 pixels are cropped as photos are, smaller ones resized.
        held: the frames of each sample's clip, (C, N, H, W), if they are held in memory.
        labels, groups, starts: of each sample, if there are any; starts: its window's first frame.
        in_order: whether training takes the samples in their order.
    """

    can_crop = True

    def __init__(
        self,
        clips: Sequence[ClipFiles],
        window: WindowOfFrames,
        channels: int,
        size: tuple[int, int],
        held: Sequence[Tensor] | None = None,
        *,
        labels: Tensor | None = None,
        groups: Tensor | None = None,
        starts: Tensor | None = None,
        in_order: bool = False,
    ) -> None:
        self.clips, self.window, self.channels, self.size = tuple(clips), window, channels, size
        self.held, self.labels, self.groups, self.starts, self.in_order = held, labels, groups, starts, in_order

    def __len__(self) -> int:
        return len(self.clips)

    def take(self, rows: Tensor) -> Self:
        """Select some of the samples."""
        numbers = rows.tolist()
        held = None if self.held is None else [self.held[i] for i in numbers]
        columns = {"labels": self.labels, "groups": self.groups, "starts": self.starts}
        chosen: dict[str, Any] = {name: None if column is None else column[rows] for name, column in columns.items()}
        clips = [self.clips[i] for i in numbers]
        selected = type(self)(clips, self.window, self.channels, self.size, held, **chosen, in_order=self.in_order)
        selected.content = self.content
        return selected

    def item(self, number: int, augmentation: ViewSeed) -> Sample:
        """Return a window of a clip, and its class."""
        numbers = self.window.numbers(self._start(number, augmentation), len(self.clips[number].frames))
        target = None if self.labels is None else self.labels[number]
        if self.held is not None:
            frames = self.held[number][:, numbers].movedim(1, 0)
            return self.window.inputs(self._crop_held(frames, number, augmentation).movedim(0, 1)), target
        decoded = self._read(number, {*numbers}, augmentation)
        return self.window.inputs(torch.stack([decoded[k] for k in numbers], 1)), target

    def fingerprint(self) -> str:
        """Hash the frames' names and sizes, the classes and the windows; contents of files only if `content` is set."""
        digest = hashlib.sha256(f"{self.window} {self.channels} {self.size} {self.in_order}".encode())
        known: dict[Path, bytes] = {}
        for clip in self.clips:
            if clip.folder not in known:
                known[clip.folder] = _digest(clip, self.content)
            digest.update(known[clip.folder])
        for column in (self.labels, self.groups, self.starts):
            if column is not None:
                digest.update(column.numpy().data)
        return digest.hexdigest()

    def holding(self) -> Self:
        """Return the samples with all frames in memory."""
        decoded: dict[Path, Tensor] = {}
        for number, clip in enumerate(self.clips):
            if clip.folder not in decoded:
                frames = self._read(number, range(len(clip.frames)), ViewSeed())
                decoded[clip.folder] = torch.stack([*frames.values()], 1)
        selected = self.take(torch.arange(len(self)))
        selected.held = [decoded[clip.folder] for clip in self.clips]
        return selected

    def _start(self, number: int, augmentation: ViewSeed) -> int:
        first, last = 0, max(len(self.clips[number].frames) - self.window.span, 0)
        usual = last // 2
        if self.starts is not None:
            usual, half = int(self.starts[number]), self.window.span // 2
            first, last = max(usual - half, 0), min(usual + half, last)
        if not augmentation.time_crop:
            return usual
        bits = random_bits(augmentation.seed ^ PLACE_IN_TIME, torch.tensor([number]), augmentation.view, 1)
        return first + int(to_integers(bits[0, 0], last - first + 1))

    def _read(self, number: int, frames: Iterable[int], augmentation: ViewSeed) -> dict[int, Tensor]:
        """Return some frames (C, H, W) of a clip by number, all cropped alike."""
        pictures = dict(self._pictures(self.clips[number], frames))
        if not augmentation.crop:
            return {k: self._whole(picture) for k, picture in pictures.items()}
        first = next(iter(pictures.values()))
        top, left, height, width, flip = random_crop_box(
            augmentation.seed, number, augmentation.view, first.height, first.width
        )
        place: Any = (self.channels, (top, left, height, width), self.size, flip)
        return {k: to_tensor(crop_and_resize(x, *place)) for k, x in pictures.items()}

    def _whole(self, picture: ImageFile) -> Tensor:
        """Return a frame as in evaluation: a small one is resized, of a larger one the centre is cropped."""
        if max(picture.height, picture.width) > SMALL:
            return to_tensor(centre_crop(picture, self.channels, self.size))
        from torchvision.transforms import functional as TF

        return TF.resize(to_tensor(picture.rgb_or_grey(self.channels)[0]), list(self.size), antialias=True)

    def _crop_held(self, frames: Tensor, number: int, augmentation: ViewSeed) -> Tensor:
        """Return frames (T, C, h, w) as they are or, with augment=resized-crop, cropped alike."""
        from torchvision.transforms import functional as TF

        if not augmentation.crop:
            return frames
        *box, flip = random_crop_box(augmentation.seed, number, augmentation.view, *frames.shape[-2:])
        x = TF.resized_crop(frames, *box, list(self.size), antialias=True)
        return x.flip(-1) if flip else x

    def _pictures(self, clip: ClipFiles, numbers: Iterable[int]) -> Iterator[tuple[int, ImageFile]]:
        """Yield the clip's frames of these numbers; refuse one of another form than the first."""
        first = ImageFile(clip.frames[0])
        for number in numbers:
            picture = ImageFile(clip.frames[number])
            check_frame(picture, self.channels, (first.height, first.width), first.path)
            yield number, picture


def _digest(clip: ClipFiles, content: bool) -> bytes:
    digest = hashlib.sha256(f"{clip.folder.parent.name}/{clip.folder.name}\n".encode(errors="surrogateescape"))
    for path in clip.frames:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode(errors="surrogateescape"))
        if content:
            digest.update(file_digest(path))
    return digest.digest()
