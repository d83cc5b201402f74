"""Files that are written atomically, and their SHA-256."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from tutelage.errors import TutelageError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file by `write(file)` so that it is either complete or absent.

    Raises: TutelageError if the disk is full or the folder can't be written; an existing file stays unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            temporary.unlink()
        raise TutelageError(
            f"{path} can't be written: {error}. Free some space or choose another folder (out=…); "
            "what was saved before is still there."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def sha256_of_bytes(content: bytes) -> str:
    """Return the content's SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the file's SHA-256, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
