"""Which folders and image files there are: each real file once, hidden ones and loops left out, the rest counted."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tutelage.errors import DataError, plain

SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
"""The folders that hold a split."""
MASKS = ("masks", "labels", "annotations")
"""The folders that hold masks, beside `images`."""
MADE_BY_SYSTEMS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__pycache__")
"""Folders that appear without anybody's wish; some hold small copies of the images."""

Identity = tuple[int, int] | Path
"""What is the same for two names of one file."""


@cache
def endings() -> frozenset[str]:
    """The endings of the images that the installed PIL reads by itself, such as .jpg."""
    from PIL import Image

    Image.init()
    kinds = Image.registered_extensions()
    return frozenset(
        ending for ending, kind in kinds.items() if kind in Image.OPEN and Image.MIME.get(kind, "").startswith("image/")
    )


def place(where: str) -> Path:
    """The path that a name means, ~ being the home folder; DataError if it can't be one."""
    try:
        where.encode()
        path = Path(where).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # which the source says in its own words
    except (OSError, RuntimeError, ValueError) as error:
        reason = "not UTF-8" if isinstance(error, UnicodeEncodeError) else getattr(error, "strerror", None) or error
        shown = plain(where if len(where) <= 80 else f"…{where[-80:]}")
        raise DataError(f"{shown}: can't be used as a path ({reason}): expected one that you may read.") from error
    return path


def folders(path: Path) -> list[Path]:
    """The visible folders in a folder, by name."""
    try:
        return sorted(p for p in path.iterdir() if _counts(p.name) and p.is_dir() and not _loops(p))
    except OSError as error:
        raise DataError(
            f"{plain(path)}: can't be read ({error.strerror}): expected a folder that you may list."
        ) from error


@dataclass
class Listing:
    """The image files below a folder, by name, with what each one is; and how many others there are, by ending."""

    folder: Path
    files: dict[Path, Identity] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)

    @property
    def paths(self) -> list[Path]:
        """Each file once, by the first of its names."""
        first: dict[Identity, Path] = {}
        for path, identity in self.files.items():
            first.setdefault(identity, path)
        return list(first.values())


def images_in(path: Path) -> Listing:
    """What is in a folder and the folders below it; links are followed, but not back to where they lie."""
    listing = Listing(path)
    for file in sorted(_walk(path)):
        try:
            known = file.stat()
        except OSError:  # a link that leads nowhere, which is named when its header is read
            known = None
        if not _is_image(file) or (known and not stat.S_ISREG(known.st_mode)):
            listing.left[file.suffix.lower() or "without ending"] += 1
        else:
            listing.files[file] = (known.st_dev, known.st_ino) if known and known.st_ino else file
    return listing


def images_at(path: Path) -> list[str]:
    """The names of the images in a folder itself."""
    found = (p for p in path.iterdir() if _is_image(p) and not p.name.startswith(".") and p.is_file())
    return sorted(p.name for p in found)


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in endings()


def _walk(path: Path) -> Iterator[Path]:
    """The visible files; every folder is entered once."""

    def stop(error: OSError) -> None:
        raise DataError(
            f"{plain(error.filename)}: can't be read ({error.strerror}): allow it, or leave it out."
        ) from error

    entered: set[str] = set()
    for at, inner, names in os.walk(path, onerror=stop, followlinks=True):
        real = os.path.realpath(at)
        if real in entered or _loops(Path(at)):
            inner.clear()
            continue
        entered.add(real)
        inner[:] = sorted(name for name in inner if _counts(name))
        yield from (Path(at) / name for name in names if not name.startswith("."))


def _loops(folder: Path) -> bool:
    """Whether it is a link to a folder that it lies in."""
    return folder.is_symlink() and Path(os.path.realpath(folder.parent)).is_relative_to(os.path.realpath(folder))


def _counts(folder: str) -> bool:
    return not folder.startswith(".") and folder not in MADE_BY_SYSTEMS


def refuse_shared(root: Path, parts: Mapping[str, Listing]) -> None:
    """Refuse a file that is in two parts of the data (classes, splits) by two names, for these are links."""
    seen: dict[Identity, tuple[str, Path]] = {}
    faults = []
    for part, listing in parts.items():
        for path, identity in listing.files.items():
            other, first = seen.setdefault(identity, (part, path))
            if other != part:
                faults.append(f"{plain(first.relative_to(root))} = {plain(path.relative_to(root))}")
    if faults:
        raise DataError(
            f"{plain(root)}: {len(faults)} file(s) in two classes or splits at once, by links: {some(faults, 3)}; "
            "leave one of each."
        )


def left_out(name: str, listings: Sequence[Listing]) -> list[str]:
    """A sentence about the files that aren't taken, if there are any."""
    counts: Counter[str] = sum((listing.left for listing in listings), Counter())
    if not counts:
        return []
    which = ", ".join(f"{count:,} {plain(ending)}" for ending, count in counts.most_common(8))
    more = ", …" if len(counts) > 8 else ""
    return [
        f"data {plain(name)}: {counts.total():,} file(s) left out, for their endings aren't those of images that can "
        f"be read here: {which}{more}; convert those that are photos."
    ]


def doubles(name: str, listings: Sequence[Listing]) -> list[str]:
    """A sentence about the files that have several names, if there are any."""
    count = sum(len(listing.files) - len(listing.paths) for listing in listings)
    return (
        [f"data {plain(name)}: {count:,} link(s) to files that are there already, which count once."] if count else []
    )


def some(names: Sequence[object], most: int = 5) -> str:
    """The first of some names, and how many more there are."""
    rest = f" … and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(plain(name) for name in names[:most]) + rest


def with_masks(root: Path) -> dict[str, tuple[Path, Path]]:
    """The folders of images and of masks of each split, in one of the usual layouts; none if there is no such."""
    found: dict[str, tuple[Path, Path]] = {}
    for split, names in SPLITS.items():
        for name in names:
            layouts = [(root / name, root / f"{name}annot")]
            layouts += [(root / name / "images", root / name / masks) for masks in MASKS]
            layouts += [(root / "images" / name, root / masks / name) for masks in MASKS]
            for pair in layouts:
                if pair[0].is_dir() and pair[1].is_dir():
                    found[split] = pair
    for masks in MASKS:
        if "train" not in found and (root / "images").is_dir() and (root / masks).is_dir():
            found = {"train": (root / "images", root / masks)}
    return found
