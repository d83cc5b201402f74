"""The SHA-256 of a folder's files: SHA256SUMS, as `sha256sum -c` reads it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tutelage.errors import CheckpointError
from tutelage.utils.files import sha256_of_bytes, sha256_of_file, write_atomically, write_text

NAME = "SHA256SUMS"

Sums = list[tuple[str, str]]
"""Pairs of a digest and a file name; a file that is being replaced has both the old and the new digest."""


def record(folder: Path, files: Iterable[str]) -> None:
    """Record files in their current state; other records stay unchanged."""
    new = {name: sha256_of_file(folder / name) for name in files}
    _write(folder, [(digest, name) for digest, name in _recorded(folder) if name not in new], new)


def write_recorded(path: Path, content: bytes | str) -> None:
    """Write a file atomically, and record it; if the process is killed in between, either content is valid."""
    content = content.encode() if isinstance(content, str) else content
    recorded, new = _recorded(path.parent), {path.name: sha256_of_bytes(content)}
    _write(path.parent, recorded, new)
    write_atomically(path, lambda file: file.write(content))
    _write(path.parent, [(digest, name) for digest, name in recorded if name != path.name], new)


def read_verified(path: Path) -> bytes:
    """Return the content of a recorded file.

    Raises: CheckpointError as `verify`; OSError if it can't be read.
    """
    verify(path)
    return path.read_bytes()


def verify(path: Path) -> None:
    """Reject a file that differs from its record; files in a folder without records are accepted.

    Raises: CheckpointError that names the file.
    """
    digests = {digest for digest, name in _recorded(path.parent) if name == path.name}
    if digests and (not path.is_file() or sha256_of_file(path) not in digests):
        fault = "was altered since it was written" if path.exists() else "is missing"
        raise CheckpointError(
            f"{path} {fault}: it isn't the file whose SHA-256 is in {path.parent / NAME}. {_mend(path.parent)}"
        )


def is_recorded(path: Path) -> bool:
    """Return whether a file has a record, though it may be lost.

    Raises: CheckpointError if the records are torn.
    """
    return any(name == path.name for _, name in _recorded(path.parent))


def verify_folder(folder: Path) -> None:
    """Reject a run folder with a file that differs from its record.

    Raises: CheckpointError that names the file.
    """
    recorded = _recorded(folder)
    if not recorded:
        raise CheckpointError(f"{folder / NAME} is missing, so its files can't be verified. {_mend(folder)}")
    for name in dict.fromkeys(name for _, name in recorded):
        verify(folder / name)


def _mend(folder: Path) -> str:
    if (folder / "config.yaml").exists():  # the run's own folder: to delete it would lose all that was trained
        return "Restore it from a copy, or begin a new run in another folder."
    return f"Restore it from a copy, or delete {folder} and resume its run, which builds it again."


def _recorded(folder: Path) -> Sums:
    path = folder / NAME
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        sums = [(digest, name) for digest, name in (line.split("  ", 1) for line in lines) if len(digest) == 64]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is torn ({error}). {_mend(folder)}") from error
    if len(sums) < len(lines):
        raise CheckpointError(f"{path} is torn: a line isn't a digest and a name. {_mend(folder)}")
    return sums


def _write(folder: Path, kept: Sums, new: dict[str, str]) -> None:
    lines = dict.fromkeys([*kept, *((digest, name) for name, digest in new.items())])
    write_text(folder / NAME, "".join(f"{digest}  {name}\n" for digest, name in lines))
