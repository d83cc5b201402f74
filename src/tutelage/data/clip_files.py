"""The files of clips: folders of frames in the order of their numbers, checked before any is decoded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tutelage.data.decode import GREY, ImageFile
from tutelage.data.image_files import file_digest
from tutelage.data.listing import Listing, list_images, summarise
from tutelage.errors import DataError, plain

HEADERS = 20_000
"""The most headers that are read before training; of more frames every second, third … is looked at."""

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
"""The suffixes of video files, which aren't read."""


@dataclass(frozen=True)
class ClipFiles:
    """A clip: its folder, and its frames in the order of their numbers."""

    folder: Path
    frames: tuple[Path, ...]

    @classmethod
    def read(cls, listing: Listing) -> ClipFiles:
        """Return the clip of a folder.

        Raises: DataError if it has no frames, or their names have no numbers, the same one twice, or gaps.
        """
        folder = listing.folder
        if inner := [path for path in listing.files if path.parent != folder]:
            raise DataError(f"{plain(inner[0])}: lies in a folder within the clip {plain(folder)}: expected its frames "
                            "side by side; move or remove it.")  # fmt: skip
        if not listing.files:
            raise DataError(f"{plain(folder)}: has no frames: expected images such as 0001.jpg{_video_hint(listing)}.")
        numbered = sorted((_number(path), path) for path in listing.files)
        steps = {later[0] - earlier[0]: later[1] for earlier, later in pairwise(numbered)}
        if 0 in steps:
            raise DataError(f"{plain(steps[0])}: another frame of the clip has its number: keep one.")
        if len(steps) > 1:
            after = steps[max(steps)]
            raise DataError(
                f"{plain(after)}: comes {max(steps)} numbers after the frame before, and others {min(steps)}: the "
                "frames between are missing; add them, or make two clips of it."
            )
        return cls(folder, tuple(path for _, path in numbered))

    def identity(self) -> bytes:
        """Return the sha256 of the frames' contents."""
        return hashlib.sha256(b"".join(map(file_digest, self.frames))).digest()


def _number(path: Path) -> int:
    numbers = re.findall(r"[0-9]+", path.stem)
    if not numbers:
        raise DataError(f"{plain(path)}: its name has no number: expected a frame's number at its end, as in 0001.jpg.")
    return int(numbers[-1])


def _video_hint(listing: Listing) -> str:
    found = [suffix for suffix in VIDEOS if suffix in listing.skipped]
    return f", and it has {found[0]} files: extract their frames (ffmpeg -i FILE %05d.png)" if found else ""


def list_clips(folder: Path, folders: Sequence[Path]) -> list[ClipFiles]:
    """Return the clips in a folder, one in each of its folders.

    Raises: DataError if there are none, or frames lie beside them.
    """
    loose = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    videos = [path for path in loose if path.suffix.lower() in VIDEOS]
    if videos:
        raise DataError(f"{plain(videos[0])}: is a video file: expected a folder of its frames "
                        "(ffmpeg -i FILE %05d.png).")  # fmt: skip
    if stray := list(list_images(folder).files.keys() & {*loose}):
        raise DataError(f"{plain(min(stray))}: is in no folder of a clip: expected CLASS/CLIP/FRAME.")
    if not folders:
        raise DataError(f"{plain(folder)}: has no clips: expected a folder of frames for each; add some or remove it.")
    return [ClipFiles.read(list_images(path)) for path in folders]


@dataclass(frozen=True)
class FrameForm:
    """The form of all frames: their channels, and the largest height and width."""

    channels: int
    largest: tuple[int, int]


def read_frame_form(clips: Sequence[ClipFiles]) -> FrameForm:
    """Read the frames' headers.

    Raises: DataError that names a frame of another size than its clip's first, or of other channels than the first's,
    or one that can't be read.
    """
    step = -(-sum(len(clip.frames) for clip in clips) // HEADERS)
    first = ImageFile(clips[0].frames[0])
    sizes = []
    for clip in clips:
        opening = ImageFile(clip.frames[0])
        for path in clip.frames[::step]:
            check_frame(ImageFile(path), channels_of(first), (opening.height, opening.width), first.path)
        sizes.append((opening.height, opening.width))
    return FrameForm(channels_of(first), (max(h for h, _ in sizes), max(w for _, w in sizes)))


def channels_of(picture: ImageFile) -> int:
    """Return 1 for a grey image, else 3."""
    return 1 if picture.mode in GREY else 3


def check_frame(picture: ImageFile, channels: int, size: tuple[int, int] | None, like: Path) -> None:
    """Refuse a frame of more than 8 bits, of other channels, or of another size than its clip.

    Raises: DataError.
    """
    picture.refuse_deep()
    kinds = {1: "grey", 3: "in colour"}
    if channels_of(picture) != channels:
        raise DataError(f"{plain(picture.path)}: is {kinds[channels_of(picture)]}, and {plain(like)} is "
                        f"{kinds[channels]}: convert one of them.")  # fmt: skip
    if size is not None and (picture.height, picture.width) != size:
        raise DataError(
            f"{plain(picture.path)}: is {picture.height} × {picture.width}, and its clip's first frame {size[0]} × "
            f"{size[1]}: expected one size in a clip."
        )


def check_copies(parts: Mapping[str, Sequence[ClipFiles]]) -> list[str]:
    """Return a note on clips with the frames of another one of the same part.

    parts: the clips by class and split. Only clips whose files have the same sizes are read.
    Raises: DataError if a copy is in another part.
    """
    candidates: dict[tuple[int, ...], list[tuple[str, ClipFiles]]] = {}
    for part, clips in parts.items():
        for clip in clips:
            sizes = tuple(path.stat().st_size for path in clip.frames)
            candidates.setdefault(sizes, []).append((part, clip))
    copies = []
    for alike in candidates.values():
        first: dict[bytes, tuple[str, ClipFiles]] = {}
        for part, clip in alike if len(alike) > 1 else ():
            other_part, other = first.setdefault(clip.identity(), (part, clip))
            if other_part != part:
                raise DataError(f"{plain(clip.folder)}: has the frames of {plain(other.folder)}, and is in another "
                                "class or split: keep one of them.")  # fmt: skip
            copies += [clip.folder.name] if other is not clip else []
    return [f"{len(copies)} clip(s) have the frames of another one: {summarise(copies, 3)}."] if copies else []
