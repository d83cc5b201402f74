"""Clips: folders of frames in a folder per class, or long clips without labels, cut into windows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from tutelage.data.clip_files import ClipFiles, FrameForm, check_copies, list_clips, read_frame_form
from tutelage.data.clip_split import SMALL, ClipSplit, WindowOfFrames
from tutelage.data.input_fields import FieldForm
from tutelage.data.items import UNLABELLED
from tutelage.data.listing import SPLITS, Listing, list_images, subfolders, summarise, to_path
from tutelage.data.preparation import SourceData
from tutelage.data.splits import ViewSeed
from tutelage.errors import ConfigError, DataError, plain
from tutelage.utils.options import Count, check_options

NAMES = {
    "clips:PATH": "clips, each a folder of frames, in a folder per class; in train/, val/ and test/ if the data is "
    "split; reading={frames: …}",
    "footage:PATH": "long clips without labels, each a folder of frames, cut into windows that follow each other; "
    "reading={frames: …, order: time}",
}

HELD = 2**29
"""The most bytes of frames that are held in memory."""
LARGE = (112, 112)
"""The size that larger frames are brought to, the usual one of networks of videos."""

Frames = Annotated[int, Field(ge=1, le=4096)]


@dataclass(frozen=True)
class ClipReading:
    """The options of `reading`.

    window: the frames of a sample. in_order: whether training takes the samples in their order.
    """

    window: WindowOfFrames
    in_order: bool


def reading_options(
    name: str,
    frames: Frames | Annotated[Sequence[Frames], Field(min_length=1, max_length=8)] = 8,
    stride: Count = 1,
    order: Literal["shuffled", "time"] = "shuffled",
) -> ClipReading:
    """Return the options of `reading`.

    Raises: ConfigError for several numbers of frames of which one is there twice.
    """
    counts = [frames] if isinstance(frames, int) else list(frames)
    if len({*counts}) < len(counts):
        raise ConfigError(f"{name}: reading: frames={counts}: expected different numbers.")
    most = max(counts)
    others = tuple(count for count in counts if count != most)
    return ClipReading(WindowOfFrames(most, stride, others), order == "time")


def find(
    kind: str, where: str, size: tuple[int, int] | None, *, reading: Mapping[str, Any] | None = None
) -> SourceData:
    """Read the clips; frames of up to 64 pixels are held in memory if they fit, others are decoded when needed.

    Raises: DataError that names the folder or the frame that can't be used.
    """
    name = f"data {kind}:{plain(where)}"
    check_options(f"{name}: reading", reading_options, reading or {})
    options = reading_options(name, **(reading or {}))
    roots, notes = _splits(to_path(where))
    read = {"clips": _labelled, "footage": _footage}[kind]
    return read(name, roots, options, size, notes)


def read_sample(path: Path, reading: Mapping[str, Any], channels: int, size: Sequence[int]) -> Tensor:
    """Return the middle window (C, T, H, W) of a clip that was read so; size: T, H and W.

    Raises: DataError if it can't be used.
    """
    window = reading_options(f"{plain(path)}", **reading).window
    split = ClipSplit([ClipFiles.read(list_images(path))], window, channels, (size[1], size[2]))
    inputs, _ = split.item(0, ViewSeed())
    sample: Tensor = inputs if isinstance(inputs, Tensor) else inputs[f"frames{size[0]}"]
    return sample


def _splits(root: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the folder of each split, and notes on other folders; the whole folder without train/, val/ and test/.

    Raises: DataError if train is missing, or two folders are for one split.
    """
    if not root.is_dir():
        raise DataError(f"{plain(root)}: is no folder: expected one of clips.")
    folders = subfolders(root)
    named = [(split, path) for path in folders for split, names in SPLITS.items() if path.name in names]
    roots = {split: path for wanted in SPLITS for split, path in named if split == wanted}
    if not roots:
        return {"train": root}, []
    if "train" not in roots or len(roots) < len(named):
        present = ", ".join(path.name for _, path in named)
        raise DataError(f"{plain(root)}: has the splits {present}: expected train, and one folder for each split.")
    other = [path.name for path in folders if path not in roots.values()]
    return roots, [f"data {plain(root)}: left out next to the splits: {summarise(other)}."] if other else []


def _labelled(
    name: str, roots: Mapping[str, Path], options: ClipReading, size: tuple[int, int] | None, notes: list[str]
) -> SourceData:
    """Return the clips with their classes.

    Raises: DataError if a class isn't in train, or there are fewer than two.
    """
    clips = {
        (split, folder.name): list_clips(folder, subfolders(folder))
        for split, root in roots.items()
        for folder in subfolders(root)
    }
    classes = tuple(label for split, label in clips if split == "train")
    if missing := [key for key in clips if key[1] not in classes]:
        split, label = missing[0]
        raise DataError(f"{plain(roots[split] / label)}: train has no class {plain(label)!r}, only "
                        f"{summarise(classes)}: add clips of it to train, or remove the folder.")  # fmt: skip
    if len(classes) < 2:
        raise DataError(f"{plain(roots['train'])}: has {len(classes)} folder(s) of a class: expected two or more, "
                        "CLASS/CLIP/FRAME.")  # fmt: skip
    everything = [clip for of_class in clips.values() for clip in of_class]
    notes = [*notes, *_check_lengths(name, everything, options.window)]
    form = read_frame_form(everything)
    notes += [f"{name}: {note}" for note in check_copies({"/".join(key): found for key, found in clips.items()})]
    splits = {}
    for split in roots:
        of_split = [(clip, classes.index(key[1])) for key, found in clips.items() if key[0] == split for clip in found]
        if not of_split:
            raise DataError(f"{plain(roots[split])}: has no clips: add some (CLASS/CLIP/FRAME), or remove it.")
        labels = torch.tensor([label for _, label in of_split])
        about: dict[str, Any] = {"labels": labels, "in_order": options.in_order}
        splits[split] = ClipSplit([clip for clip, _ in of_split], options.window, form.channels, (0, 0), **about)
    return _source("classification", classes, "label", splits, form, options.window, size, notes)


def _footage(
    name: str, roots: Mapping[str, Path], options: ClipReading, size: tuple[int, int] | None, notes: list[str]
) -> SourceData:
    """Return windows of long clips in the order of time; a clip's windows stay in one split."""
    clips = {split: _long_clips(root) for split, root in roots.items()}
    everything = [clip for of_split in clips.values() for clip in of_split]
    notes = [*notes, *_check_lengths(name, everything, options.window)]
    form = read_frame_form(everything)
    notes += [f"{name}: {note}" for note in check_copies(clips)]
    numbers = {clip.folder: number for number, clip in enumerate(everything)}
    splits = {}
    for split, of_split in clips.items():
        last = {clip: max(len(clip.frames) - options.window.span, 0) for clip in of_split}
        windows = [(clip, start) for clip in of_split for start in range(0, last[clip] + 1, options.window.span)]
        about: dict[str, Any] = {
            "groups": torch.tensor([numbers[clip.folder] for clip, _ in windows]),
            "starts": torch.tensor([start for _, start in windows]),
            "in_order": options.in_order,
        }
        splits[split] = ClipSplit([clip for clip, _ in windows], options.window, form.channels, (0, 0), **about)
    return _source(UNLABELLED, (), "none", splits, form, options.window, size, notes)


def _long_clips(root: Path) -> list[ClipFiles]:
    """Return a clip for each folder, at any depth, that has frames; in the order of the numbers in their names.

    Raises: DataError if there are none.
    """
    folders: dict[Path, Listing] = {}
    for path, identity in list_images(root).files.items():
        folders.setdefault(path.parent, Listing(path.parent)).files[path] = identity
    if not folders:
        raise DataError(f"{plain(root)}: has no frames: expected folders of images such as 0001.jpg.")
    return [ClipFiles.read(folders[path]) for path in sorted(folders, key=_natural)]


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", str(path))]


def _check_lengths(name: str, clips: Sequence[ClipFiles], window: WindowOfFrames) -> list[str]:
    """Return a note on clips that are shorter than a window.

    Raises: DataError for a clip of one frame, where samples have several.
    """
    if window.frames > 1 and (still := [clip for clip in clips if len(clip.frames) == 1]):
        raise DataError(f"{plain(still[0].folder)}: has one frame, in which nothing moves, and samples have "
                        f"{window.frames}: add its frames, remove it, or set reading={{frames: 1}}.")  # fmt: skip
    short = [clip for clip in clips if len(clip.frames) < window.span]
    about = f"{name}: {len(short):,} of {len(clips):,} clips are shorter than the {window.span} frames of a window; "
    return [f"{about}their last frame is repeated."] if short else []


def _source(
    task: str,
    classes: tuple[str, ...],
    target: str,
    splits: Mapping[str, ClipSplit],
    form: FrameForm,
    window: WindowOfFrames,
    size: tuple[int, int] | None,
    notes: Sequence[str],
) -> SourceData:
    """Return the data, with the frames in memory if they are few and small."""
    small = max(form.largest) <= SMALL
    height, width = size or (form.largest if small else LARGE)
    frames = {clip.folder: len(clip.frames) for split in splits.values() for clip in split.clips}
    fits = small and sum(frames.values()) * form.channels * height * width <= HELD
    read: dict[str, ClipSplit] = {}
    for name, split in splits.items():
        split.size = (height, width)
        read[name] = split.holding() if fits else split
    counts = (window.frames, *window.others) if window.others else ()
    fields = {f"frames{count}": FieldForm("clip", (count, height, width)) for count in counts}
    about: dict[str, Any] = {"modality": "clip", "target": target, "fields": fields, "notes": notes}
    return SourceData(task, classes, (window.frames, height, width), "time-crop+shift", read, **about)
