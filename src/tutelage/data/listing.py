"""The folders and image files of a data set: each real file once, hidden ones and loops skipped, others counted."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tutelage.errors import DataError, plain

SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
"""The folders that hold a split."""
MASKS = ("masks", "labels", "annotations")
"""The folders that hold masks, next to `images`."""
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__pycache__")
"""Folders that operating systems and tools create; some hold thumbnails of the images."""

Identity = tuple[int, int] | Path
"""A key that is equal for two names of one file: (device, inode), or the path."""


@cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes of the images that the installed PIL reads by itself, such as .jpg."""
    from PIL import Image

    Image.init()
    kinds = Image.registered_extensions()
    return frozenset(
        ending for ending, kind in kinds.items() if kind in Image.OPEN and Image.MIME.get(kind, "").startswith("image/")
    )


def to_path(where: str) -> Path:
    """Return the path that a name means, with ~ expanded.

    Raises: DataError if it can't be a path.
    """
    try:
        where.encode()
        path = Path(where).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # the data source reports it
    except (OSError, RuntimeError, ValueError) as error:
        reason = "not UTF-8" if isinstance(error, UnicodeEncodeError) else getattr(error, "strerror", None) or error
        shown = plain(where if len(where) <= 80 else f"…{where[-80:]}")
        raise DataError(f"{shown}: can't be used as a path ({reason}): expected one that you may read.") from error
    return path


def subfolders(path: Path) -> list[Path]:
    """Return the visible folders in a folder, sorted by name.

    Raises: DataError if the folder can't be read.
    """
    try:
        return sorted(p for p in path.iterdir() if _is_visible(p.name) and p.is_dir() and not _is_link_loop(p))
    except OSError as error:
        raise DataError(
            f"{plain(path)}: can't be read ({error.strerror}): expected a folder that you may list."
        ) from error


@dataclass
class Listing:
    """The image files below a folder, by path, with each one's identity; and the number of skipped files, by suffix."""

    folder: Path
    files: dict[Path, Identity] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def paths(self) -> list[Path]:
        """Each file once, by its first path."""
        first: dict[Identity, Path] = {}
        for path, identity in self.files.items():
            first.setdefault(identity, path)
        return list(first.values())


def list_images(path: Path) -> Listing:
    """List the images in a folder and in the folders below it."""
    return list_files(path, image_suffixes())


def list_files(path: Path, suffixes: Collection[str]) -> Listing:
    """List a folder and the folders below it; links are followed, but not to a folder that contains them."""
    listing = Listing(path)
    for file in sorted(_walk(path)):
        try:
            status = file.stat()
        except OSError:  # a broken link, which is reported when its header is read
            status = None
        if file.suffix.lower() not in suffixes or (status and not stat.S_ISREG(status.st_mode)):
            listing.skipped[file.suffix.lower() or "without ending"] += 1
        else:
            listing.files[file] = (status.st_dev, status.st_ino) if status and status.st_ino else file
    return listing


def images_directly_in(path: Path) -> list[str]:
    """Return the names of the images directly in a folder."""
    images = (p for p in path.iterdir() if _is_image(p) and not p.name.startswith(".") and p.is_file())
    return sorted(p.name for p in images)


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in image_suffixes()


def _walk(path: Path) -> Iterator[Path]:
    """Iterate over the visible files; every folder is entered once."""

    def stop(error: OSError) -> None:
        raise DataError(
            f"{plain(error.filename)}: can't be read ({error.strerror}): make it readable, or remove it."
        ) from error

    entered: set[str] = set()
    for at, inner, names in os.walk(path, onerror=stop, followlinks=True):
        real = os.path.realpath(at)
        if real in entered or _is_link_loop(Path(at)):
            inner.clear()
            continue
        entered.add(real)
        inner[:] = sorted(name for name in inner if _is_visible(name))
        yield from (Path(at) / name for name in names if not name.startswith("."))


def _is_link_loop(folder: Path) -> bool:
    """Return True for a link to a folder that contains the link."""
    return folder.is_symlink() and Path(os.path.realpath(folder.parent)).is_relative_to(os.path.realpath(folder))


def _is_visible(folder: str) -> bool:
    return not folder.startswith(".") and folder not in SYSTEM_FOLDERS


def refuse_shared(root: Path, parts: Mapping[str, Listing]) -> None:
    """Reject links by which a file is in two parts of the data (classes, splits).

    Raises: DataError.
    """
    seen: dict[Identity, tuple[str, Path]] = {}
    faults = []
    for part, listing in parts.items():
        for path, identity in listing.files.items():
            first_part, first = seen.setdefault(identity, (part, path))
            if first_part != part:
                faults.append(f"{plain(first.relative_to(root))} = {plain(path.relative_to(root))}")
    if faults:
        raise DataError(
            f"{plain(root)}: {len(faults)} file(s) in two classes or splits at once, by links: {summarise(faults, 3)}; "
            "keep one of each."
        )


def describe_skipped(name: str, listings: Sequence[Listing]) -> list[str]:
    """Return a sentence about the skipped files, if there are any."""
    counts: Counter[str] = sum((listing.skipped for listing in listings), Counter())
    if not counts:
        return []
    which = ", ".join(f"{count:,} {plain(ending)}" for ending, count in counts.most_common(8))
    more = ", …" if len(counts) > 8 else ""
    return [
        f"data {plain(name)}: {counts.total():,} file(s) left out, since their suffixes aren't those of images that "
        f"can be read here: {which}{more}; convert those that are photos."
    ]


def describe_duplicates(name: str, listings: Sequence[Listing]) -> list[str]:
    """Return a sentence about the files that have several names, if there are any."""
    count = sum(len(listing.files) - len(listing.paths) for listing in listings)
    return (
        [f"data {plain(name)}: {count:,} link(s) to files of the same data; each file is used once."] if count else []
    )


def summarise(names: Sequence[object], limit: int = 5) -> str:
    """Join the first `limit` names, followed by how many more there are."""
    more = f" … and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(plain(name) for name in names[:limit]) + more


def find_mask_folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Return each split's folders of images and of masks, in one of the usual layouts; empty if there are none."""
    pairs: dict[str, tuple[Path, Path]] = {}
    for split, names in SPLITS.items():
        for name in names:
            layouts = [(root / name, root / f"{name}annot")]
            layouts += [(root / name / "images", root / name / masks) for masks in MASKS]
            layouts += [(root / "images" / name, root / masks / name) for masks in MASKS]
            for pair in layouts:
                if pair[0].is_dir() and pair[1].is_dir():
                    pairs[split] = pair
    for masks in MASKS:
        if "train" not in pairs and (root / "images").is_dir() and (root / masks).is_dir():
            pairs = {"train": (root / "images", root / masks)}
    return pairs
