"""What a cache is of: the manifest beside the shards."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tutelage.checkpoint import write_text
from tutelage.errors import CacheError

FORMAT = 1
FILE = "manifest.json"


class Tap(BaseModel):
    """One thing that a teacher said: its response or a layer's feature.

    shape: of one sample, without the batch. storage: how rows are stored. nhwc: maps (C, H, W) lie as (H, W, C).
    rows: samples of a shard.
    """

    model_config = ConfigDict(extra="forbid")

    shape: tuple[int, ...]
    storage: str
    nhwc: bool
    rows: int


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
    error: by tap, what the storage changed: relative_l2 = ‖x − stored‖/‖x‖, and the response's mean KL.
    """

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    key: str
    about: dict[str, Any]
    samples: int
    views: int
    versions: dict[str, str]
    taps: dict[str, Tap] = {}
    shards: dict[str, Shard] = {}
    error: dict[str, dict[str, float]] = {}

    def write(self, folder: Path) -> None:
        """Beside the shards, whole or not at all."""
        self.taps = dict(sorted(self.taps.items()))
        self.shards = dict(sorted(self.shards.items()))
        self.error = {tap: self._error(tap) for tap in self.taps}
        write_text(folder / FILE, self.model_dump_json(indent=1))

    def _error(self, tap: str) -> dict[str, float]:
        there = [self.shards[n] for view in range(self.views) for n in self.names(view, tap) if n in self.shards]
        squares, rows = sum(s.squares for s in there), sum(s.rows for s in there)
        said = {"relative_l2": (sum(s.off for s in there) / squares) ** 0.5 if squares else 0.0}
        return said | ({"kl": sum(s.kl for s in there) / rows} if tap == "response" and rows else {})

    def complete(self, view: int, tap: str) -> bool:
        """Whether every sample of that view is there."""
        return tap in self.taps and all(name in self.shards for name in self.names(view, tap))

    def names(self, view: int, tap: str) -> list[str]:
        """The names of the shards that a view of a tap has when it is complete."""
        count = -(-self.samples // self.taps[tap].rows)
        return [shard_name(view, tap, number) for number in range(count)]


def shard_name(view: int, tap: str, number: int) -> str:
    """The file's name."""
    return f"view{view}-{tap.replace('/', '_').replace(':', '=')}-{number:05d}.safetensors"


def key_of(about: dict[str, Any]) -> str:
    """The sha256 of what a cache is about."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def read(folder: Path) -> Manifest:
    """The manifest of a cache.

    Raises: CacheError if there is none, it is torn, of another format, or was altered.
    """
    path = folder / FILE
    try:
        found = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CacheError(f"{folder} is no cache: {FILE} can't be read ({error.strerror}).") from error
    except ValidationError as error:
        raise CacheError(f"{path} is torn or was altered; delete the folder, and it is built again.") from error
    if found.format != FORMAT:
        raise CacheError(f"{path} is of format {found.format}, this version reads {FORMAT}; build it again.")
    if found.key != key_of(found.about):
        raise CacheError(f"{path} was altered: it isn't about what its key says; delete the folder.")
    return found


def refuse_other(folder: Path, found: Manifest, about: dict[str, Any]) -> None:
    """Refuse a cache of something else, naming what differs.

    Raises: CacheError.
    """
    differs = [name for name in {**found.about, **about} if found.about.get(name) != about.get(name)]
    if differs:
        said = ", ".join(
            f"{name} ({_short(found.about.get(name))}, here {_short(about.get(name))})" for name in differs
        )
        raise CacheError(
            f"the cache {folder} is of another {said}; leave `cache` at true and a cache of its own is built, or name "
            "another folder."
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:10]}…"
