"""What a folder's files were when they were written: SHA256SUMS, as `sha256sum -c` reads it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tutelage.errors import CheckpointError
from tutelage.utils.files import sha256, sha256_of, write_atomically, write_text

NAME = "SHA256SUMS"

Sums = list[tuple[str, str]]
"""A digest and a file's name each; while a file is replaced, it has both the old and the new one."""


def add(folder: Path, files: Iterable[str]) -> None:
    """Record files as they are now; those that aren't named stay as they were recorded."""
    new = {name: sha256(folder / name) for name in files}
    _write(folder, [(digest, name) for digest, name in _recorded(folder) if name not in new], new)


def write(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all, and record it; killed in between, either content is right."""
    content = content.encode() if isinstance(content, str) else content
    known, new = _recorded(path.parent), {path.name: sha256_of(content)}
    _write(path.parent, known, new)
    write_atomically(path, lambda file: file.write(content))
    _write(path.parent, [(digest, name) for digest, name in known if name != path.name], new)


def read(path: Path) -> bytes:
    """The content of a recorded file.

    Raises: CheckpointError as `check`; OSError if it can't be read.
    """
    check(path)
    return path.read_bytes()


def check(path: Path) -> None:
    """Refuse a file that isn't what was recorded; one in a folder without records is nobody's, and passes.

    Raises: CheckpointError that names it.
    """
    digests = {digest for digest, name in _recorded(path.parent) if name == path.name}
    if digests and (not path.is_file() or sha256(path) not in digests):
        lost = "was altered since it was written" if path.exists() else "is missing"
        raise CheckpointError(
            f"{path} {lost}: it isn't the file whose SHA-256 is in {path.parent / NAME}. {_mend(path.parent)}"
        )


def check_all(folder: Path) -> None:
    """Refuse a folder of a run with a file that isn't what was recorded.

    Raises: CheckpointError that names the file.
    """
    known = _recorded(folder)
    if not known:
        raise CheckpointError(f"{folder / NAME} is missing, so nothing says what its files were. {_mend(folder)}")
    for name in dict.fromkeys(name for _, name in known):
        check(folder / name)


def _mend(folder: Path) -> str:
    return f"Restore it from a copy, or delete {folder} and resume its run, which makes it again."


def _recorded(folder: Path) -> Sums:
    path = folder / NAME
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        found = [(digest, name) for digest, name in (line.split("  ", 1) for line in lines) if len(digest) == 64]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is torn ({error}). {_mend(folder)}") from error
    if len(found) < len(lines):
        raise CheckpointError(f"{path} is torn: a line isn't a digest and a name. {_mend(folder)}")
    return found


def _write(folder: Path, kept: Sums, new: dict[str, str]) -> None:
    lines = dict.fromkeys([*kept, *((digest, name) for name, digest in new.items())])
    write_text(folder / NAME, "".join(f"{digest}  {name}\n" for digest, name in lines))
