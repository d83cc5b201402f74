"""The manifest of a cache: the file next to the shards that states what they depend on."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, unquote

from pydantic import BaseModel, ConfigDict, Field

from tutelage.cache.codecs import get_codec
from tutelage.errors import CacheError, ConfigError
from tutelage.utils.files import write_text

FORMAT = 1
FILE = "manifest.json"
RESPONSE = "response"

Count = Annotated[int, Field(ge=1)]


class CachedTensor(BaseModel):
    """A cached output of a teacher: its response or a layer's feature.

    shape: of one sample, without the batch dimension. storage: the codec of its rows. nhwc: maps (C, H, W) are stored
    as (H, W, C). rows: samples per shard.
    """

    model_config = ConfigDict(extra="forbid")

    shape: tuple[int, ...] = Field(min_length=1)
    storage: str
    nhwc: bool
    rows: Count


class Shard(BaseModel):
    """One file: its sha256, its rows, and sums over them of the storage's error.

    kl: KL(softmax(x) ‖ softmax(stored x)) along dim 1 (responses only); squared_norm: x²; squared_error:
    (x − stored x)².
    """

    model_config = ConfigDict(extra="forbid")

    sha256: str
    rows: int
    kl: float = 0.0
    squared_norm: float
    squared_error: float


class Manifest(BaseModel):
    """The inputs that determine a cache's numbers, and its shards by name.

    about: the identity of teacher, data, transform and seed; runs with equal identity share a cache. unit: samples that
    are built at once. taps: the cached tensors by name. sha256: of everything else. error: by tensor, the storage's
    error: relative_l2 = ‖x − stored‖/‖x‖, and the response's mean KL.
    """

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    key: str
    about: dict[str, Any]
    samples: Count
    views: Count
    unit: Count
    versions: dict[str, str]
    tensors: dict[str, CachedTensor] = {}
    shards: dict[str, Shard] = {}
    error: dict[str, dict[str, float]] = {}
    sha256: str = ""

    def write(self, folder: Path) -> None:
        """Write the file atomically."""
        self.tensors = dict(sorted(self.tensors.items()))
        self.shards = dict(sorted(self.shards.items()))
        self.error = {tensor: self._storage_error(tensor) for tensor in self.tensors}
        self.sha256 = self._checksum()
        write_text(folder / FILE, self.model_dump_json(indent=1))

    def _checksum(self) -> str:
        return hashlib.sha256(self.model_dump_json(exclude={"sha256"}).encode()).hexdigest()

    def is_sound(self) -> bool:
        """Return True if the manifest is unaltered and consistent."""
        try:
            for cached_tensor in self.tensors.values():
                get_codec(cached_tensor.storage, cached_tensor.shape[0])
        except ConfigError:
            return False
        units_fit = all(self.unit % cached_tensor.rows == 0 for cached_tensor in self.tensors.values())
        names_fit = units_fit and all(map(self._is_valid_name, self.shards))
        return names_fit and self.sha256 == self._checksum() and self.key == cache_key(self.about)

    def _is_valid_name(self, shard: str) -> bool:
        parts = re.fullmatch(r"view(\d+)-(.+)-(\d+)\.safetensors", shard)
        if parts is None or (tensor := unquote(parts[2])) not in self.tensors:
            return False
        view, number = int(parts[1]), int(parts[3])
        inside = view < self.views and number * self.tensors[tensor].rows < self.samples
        return inside and shard == shard_name(view, tensor, number)

    def _storage_error(self, tensor: str) -> dict[str, float]:
        expected = (name for view in range(self.views) for name in self.shard_names(view, tensor))
        shards = [self.shards[name] for name in expected if name in self.shards]
        squares, rows = sum(s.squared_norm for s in shards), sum(s.rows for s in shards)
        error = {"relative_l2": (sum(s.squared_error for s in shards) / squares) ** 0.5 if squares else 0.0}
        return error | ({"kl": sum(s.kl for s in shards) / rows} if is_response(tensor) and rows else {})

    def is_complete(self, view: int, tensor: str) -> bool:
        """Return True if the tensor is cached for every sample of that view."""
        return tensor in self.tensors and all(name in self.shards for name in self.shard_names(view, tensor))

    def shard_names(self, view: int, tensor: str) -> list[str]:
        """Return the names of all shards of a view of a tensor."""
        count = -(-self.samples // self.tensors[tensor].rows)
        return [shard_name(view, tensor, number) for number in range(count)]


def is_response(tensor: str) -> bool:
    """Return True if the tensor is a response, of the teacher or of one member of an ensemble (`response:0`)."""
    return tensor.partition(":")[0] == RESPONSE


def shard_name(view: int, tensor: str, number: int) -> str:
    """Return the file's name; characters of the tensor's name that file systems may not accept are written as %XX."""
    return f"view{view}-{quote(tensor, safe='')}-{number:05d}.safetensors"


def cache_key(about: dict[str, Any]) -> str:
    """Return the sha256 of a cache's identity."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a cache.

    Raises: CacheError if there is none, or it is torn, altered or of another format.
    """
    path = folder / FILE
    altered = f"{path} is torn or was altered; delete the folder {folder}, and the next run builds it again."
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, dict) and isinstance(content.get("format"), int) and content["format"] != FORMAT:
            raise CacheError(
                f"{path} is of format {content['format']}, this version reads {FORMAT}; name another folder, or delete "
                "this one, and the next run builds it again."
            )
        manifest = Manifest.model_validate(content)
    except OSError as error:
        raise CacheError(f"{folder} is no cache: {FILE} can't be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise CacheError(altered) from error
    if not manifest.is_sound():
        raise CacheError(altered)
    return manifest


def refuse_other_identity(folder: Path, manifest: Manifest, about: dict[str, Any]) -> None:
    """Reject a cache with another identity, naming the differences.

    Raises: CacheError.
    """
    stored = _flatten(manifest.about | {"views": manifest.views, "samples": manifest.samples})
    expected = _flatten(about)
    names = [name for name in {**stored, **expected} if stored.get(name) != expected.get(name)]
    if names:
        differences = ", ".join(
            f"{name} ({_shorten(stored.get(name))}, here {_shorten(expected.get(name))})" for name in names
        )
        raise CacheError(
            f"the cache {folder} is of another {differences}; set cache=true to build a separate cache, or name "
            "another "
            "folder."
        )


def _flatten(about: Any, name: str = "") -> dict[str, Any]:
    """Return plain values by the path to them: {"teacher": {"weights": x}} → {"teacher weights": x}."""
    if isinstance(about, dict):
        return {n: x for key, part in about.items() for n, x in _flatten(part, f"{name} {key}".strip()).items()}
    if isinstance(about, list) and any(isinstance(part, dict) for part in about):
        return _flatten(dict(enumerate(about)), name)
    return {name: about}


def _shorten(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:10]}…"
