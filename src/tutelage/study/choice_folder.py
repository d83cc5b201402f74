"""The folder of a choice: one process at a time works in it, by the request of its begin; its files are verified."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from torch import nn
from torch.nn.parameter import is_lazy

from tutelage.config import parsing
from tutelage.errors import CheckpointError, ConfigError
from tutelage.runs.inputs import Provided
from tutelage.utils import checksums
from tutelage.utils.files import sha256_of_bytes

OBJECTS = "objects.json"
"""The file with the form of the networks that were passed as objects, which their names don't tell."""


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


def as_begun(request: Path, folder: Path) -> Path:
    """Return a folder by the name in its request, by which its trainings name it too, if that is the same folder."""
    named = Path(str(parsing.read_file(request, {}).get("out"))) if request.exists() else folder
    return named if named.resolve() == folder.resolve() else folder


def refuse_changes(
    file: Path, folder: Path, request: Mapping[str, Any], free: Collection[str] = (), why: str = ""
) -> None:
    """Refuse another request than the one in the file by which the folder was begun, or a file that was edited since.

    free: the keys that may change. why: a further sentence.
    Raises: ConfigError.
    """
    try:
        before = yaml.load(checksums.read_verified(file), parsing.Loader)  # a SafeLoader
    except CheckpointError as error:
        raise ConfigError(
            f"{file} isn't as it was written when {folder} was begun, and what is trained there goes by its old "
            "values: put them back, or begin in another folder (out=…)."
        ) from error
    now = yaml.load(parsing.dump(request), parsing.Loader)
    if changed := [key for key in {**before, **now} if before.get(key) != now.get(key) and key not in free]:
        key = changed[0]
        raise ConfigError(
            f"{folder} was begun with {key}={before.get(key)}, now it is {now.get(key)}: put it back, or choose "
            f"another folder (out=…).{why}"
        )


def describe_objects(provided: Provided) -> str:
    """Return the content of objects.json: of each network its class and the digest of its tensors' names and shapes."""
    networks = {"student": provided.student, "teacher": provided.teacher}
    return json.dumps({role: _form(network) for role, network in networks.items() if network is not None})


def _form(network: nn.Module) -> str:
    tensors = [*network.named_parameters(), *network.named_buffers()]
    shapes = [(name, None if is_lazy(x) else [*x.shape]) for name, x in tensors]
    return f"{type(network).__name__} {sha256_of_bytes(json.dumps(shapes).encode())[:12]}"


def refuse_other_objects(folder: Path, provided: Provided, work: str) -> None:
    """Refuse networks of another form than those that were passed at the begin; work: as for `read`.

    Raises: ConfigError.
    """
    now = json.loads(describe_objects(provided))
    before = read(folder / OBJECTS, work) if was_written(folder / OBJECTS) else {}
    if others := [role for role in now if before.get(role, now[role]) != now[role]]:
        role = others[0]
        raise ConfigError(
            f"{folder} was begun with another {role}: {before[role]}, now it is {now[role]} (class, and digest of its "
            "tensors' names and shapes): pass the network of before, or begin in another folder (out=…)."
        )


def read(file: Path, work: str) -> Any:
    """Return the content of a JSON file; work: what has to begin again if it is lost, such as "search".

    Raises: CheckpointError if it is missing, torn or was altered.
    """
    try:
        return json.loads(checksums.read_verified(file))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is missing or torn ({error}): begin a new {work}.") from error


def was_written(file: Path) -> bool:
    """Return whether a file of the folder is there or was, by its record of checksums."""
    return file.exists() or checksums.is_recorded(file)


def write(file: Path, content: Any) -> None:
    """Write a JSON file, and record its checksum."""
    checksums.write_recorded(file, json.dumps(content, indent=1))
