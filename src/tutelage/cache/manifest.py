"""What a cache is of: the manifest beside the shards."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, unquote

from pydantic import BaseModel, ConfigDict, Field

from tutelage.cache.codecs import storage
from tutelage.errors import CacheError, ConfigError
from tutelage.utils.files import write_text

FORMAT = 1
FILE = "manifest.json"
RESPONSE = "response"

Count = Annotated[int, Field(ge=1)]


class CachedTensor(BaseModel):
    """One thing that a teacher said: its response or a layer's feature.

    shape: of one sample, without the batch. storage: how rows are stored. nhwc: maps (C, H, W) lie as (H, W, C).
    rows: samples of a shard.
    """

    model_config = ConfigDict(extra="forbid")

    shape: tuple[int, ...] = Field(min_length=1)
    storage: str
    nhwc: bool
    rows: Count


class Shard(BaseModel):
    """One file: its sha256, its rows, and sums over them of what its storage changed.

    kl: of KL(softmax(x) ‖ softmax(stored x)) along dim 1 (responses only); squares: of x²; off: of (x − stored x)².
    """

    model_config = ConfigDict(extra="forbid")

    sha256: str
    rows: int
    kl: float = 0.0
    squares: float
    off: float


class Manifest(BaseModel):
    """What a cache is of, and its shards by name.

    about: what its numbers depend on (teacher, data, transform, seed); two runs share a cache if it is the same.
    unit: so many samples are built at once. sha256: of all else.
    error: by tap, what the storage changed: relative_l2 = ‖x − stored‖/‖x‖, and the response's mean KL.
    """

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    key: str
    about: dict[str, Any]
    samples: Count
    views: Count
    unit: Count
    versions: dict[str, str]
    taps: dict[str, CachedTensor] = {}
    shards: dict[str, Shard] = {}
    error: dict[str, dict[str, float]] = {}
    sha256: str = ""

    def write(self, folder: Path) -> None:
        """Beside the shards, whole or not at all."""
        self.taps = dict(sorted(self.taps.items()))
        self.shards = dict(sorted(self.shards.items()))
        self.error = {tap: self._error(tap) for tap in self.taps}
        self.sha256 = self._sum()
        write_text(folder / FILE, self.model_dump_json(indent=1))

    def _sum(self) -> str:
        return hashlib.sha256(self.model_dump_json(exclude={"sha256"}).encode()).hexdigest()

    def sound(self) -> bool:
        """Whether it says what was written, and that makes sense."""
        try:
            for tap in self.taps.values():
                storage(tap.storage, tap.shape[0])
        except ConfigError:
            return False
        fit = all(self.unit % tap.rows == 0 for tap in self.taps.values()) and all(map(self._has_place, self.shards))
        return fit and self.sha256 == self._sum() and self.key == key_of(self.about)

    def _has_place(self, shard: str) -> bool:
        parts = re.fullmatch(r"view(\d+)-(.+)-(\d+)\.safetensors", shard)
        if parts is None or (tap := unquote(parts[2])) not in self.taps:
            return False
        view, number = int(parts[1]), int(parts[3])
        inside = view < self.views and number * self.taps[tap].rows < self.samples
        return inside and shard == shard_name(view, tap, number)

    def _error(self, tap: str) -> dict[str, float]:
        there = [self.shards[n] for view in range(self.views) for n in self.names(view, tap) if n in self.shards]
        squares, rows = sum(s.squares for s in there), sum(s.rows for s in there)
        said = {"relative_l2": (sum(s.off for s in there) / squares) ** 0.5 if squares else 0.0}
        return said | ({"kl": sum(s.kl for s in there) / rows} if is_response(tap) and rows else {})

    def complete(self, view: int, tap: str) -> bool:
        """Whether every sample of that view is there."""
        return tap in self.taps and all(name in self.shards for name in self.names(view, tap))

    def names(self, view: int, tap: str) -> list[str]:
        """The names of the shards that a view of a tap has when it is complete."""
        count = -(-self.samples // self.taps[tap].rows)
        return [shard_name(view, tap, number) for number in range(count)]


def is_response(tap: str) -> bool:
    """Whether it is a response, of the teacher or of one of several (`response:0`)."""
    return tap.partition(":")[0] == RESPONSE


def shard_name(view: int, tap: str, number: int) -> str:
    """The file's name; of a tap's letters, those that file systems may not like as %XX."""
    return f"view{view}-{quote(tap, safe='')}-{number:05d}.safetensors"


def key_of(about: dict[str, Any]) -> str:
    """The sha256 of what a cache is about."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def read(folder: Path) -> Manifest:
    """The manifest of a cache.

    Raises: CacheError if there is none, it is torn, of another format, or was altered.
    """
    path = folder / FILE
    altered = f"{path} is torn or was altered; delete the folder {folder}, and the next run builds it again."
    try:
        said = json.loads(path.read_bytes())
        if isinstance(said, dict) and isinstance(said.get("format"), int) and said["format"] != FORMAT:
            raise CacheError(
                f"{path} is of format {said['format']}, this version reads {FORMAT}; name another folder, or delete "
                "this one, and the next run builds it again."
            )
        found = Manifest.model_validate(said)
    except OSError as error:
        raise CacheError(f"{folder} is no cache: {FILE} can't be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise CacheError(altered) from error
    if not found.sound():
        raise CacheError(altered)
    return found


def refuse_other(folder: Path, found: Manifest, about: dict[str, Any]) -> None:
    """Refuse a cache of something else, naming what differs.

    Raises: CacheError.
    """
    theirs = _flat(found.about | {"views": found.views, "samples": found.samples})
    ours = _flat(about)
    differs = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
    if differs:
        said = ", ".join(f"{name} ({_short(theirs.get(name))}, here {_short(ours.get(name))})" for name in differs)
        raise CacheError(
            f"the cache {folder} is of another {said}; leave `cache` at true and a cache of its own is built, or name "
            "another folder."
        )


def _flat(about: Any, name: str = "") -> dict[str, Any]:
    """Plain values by the path to them: {"teacher": {"weights": x}} → {"teacher weights": x}."""
    if isinstance(about, dict):
        return {n: x for key, part in about.items() for n, x in _flat(part, f"{name} {key}".strip()).items()}
    if isinstance(about, list) and any(isinstance(part, dict) for part in about):
        return _flat(dict(enumerate(about)), name)
    return {name: about}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:10]}…"
