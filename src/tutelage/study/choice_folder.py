"""The folder of a choice: one process at a time works in it, and its JSON files are verified when they are read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tutelage.errors import CheckpointError, ConfigError
from tutelage.utils import checksums


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """Keep other processes out; doing: what they would do too, such as "searching".

    Raises: ConfigError if another process is in it.
    """
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise ConfigError(f"{folder}: another process is {doing} here: wait for it.") from error


def refuse_moved(request: Path, out: str, folder: Path) -> None:
    """Refuse to go on by a request whose folder isn't the one that it names: it would begin again in another place.

    Raises: ConfigError.
    """
    if (request.parent / checksums.NAME).is_file() and Path(out).resolve() != folder.resolve():
        raise ConfigError(
            f"{request}: it was begun as out={out}, which its trainings name, and here that isn't {folder}: go back to "
            "the folder of before, or begin a new one elsewhere (out=…)."
        )


def read(file: Path, work: str) -> Any:
    """Return the content of a JSON file; work: what has to begin again if it is lost, such as "search".

    Raises: CheckpointError if it is missing, torn or was altered.
    """
    try:
        return json.loads(checksums.read_verified(file))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is missing or torn ({error}): begin a new {work}.") from error


def write(file: Path, content: Any) -> None:
    """Write a JSON file, and record its checksum."""
    checksums.write_recorded(file, json.dumps(content, indent=1))
