"""Shards on disk: written atomically, registered in the manifest, read by memory map."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from filelock import FileLock, Timeout
from torch import Tensor

from tutelage.cache import manifest as manifests
from tutelage.cache.codecs import Codec, EncodedTensors, get_codec
from tutelage.cache.manifest import FILE, CachedTensor, Manifest, Shard, is_response, refuse_other_identity, shard_name
from tutelage.cache.mmap import map_tensors
from tutelage.errors import CacheError, NotFinite, TutelageError
from tutelage.utils.files import sha256_of_file, write_atomically

SHARD_BYTES = 64 * 2**20
SHARD_ROWS = 8192


@dataclass
class CachedView:
    """One view of a cached tensor, for all samples: its parts by shard, memory-mapped."""

    tensor: CachedTensor
    codec: Codec
    parts: list[EncodedTensors]

    def __getitem__(self, index: Tensor) -> Tensor:
        """Return the rows of these sample numbers, in float32, in the shape of the teacher's output."""
        rows = self.codec.decode(self._stored(index))
        return rows.permute(0, 3, 1, 2) if self.tensor.nhwc else rows

    def _stored(self, index: Tensor) -> EncodedTensors:
        if len(self.parts) == 1:
            return {name: part.index_select(0, index) for name, part in self.parts[0].items()}
        shard, row = index.div(self.tensor.rows, rounding_mode="floor"), index % self.tensor.rows
        order = shard.argsort(stable=True)
        counts = torch.bincount(shard, minlength=len(self.parts)).tolist()
        rows_of = [(parts, rows) for parts, rows in zip(self.parts, row[order].split(counts), strict=True) if len(rows)]
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(len(order))
        return {
            name: torch.cat([parts[name].index_select(0, rows) for parts, rows in rows_of]).index_select(0, inverse)
            for name in self.parts[0]
        }


class CacheStore:
    """A cache's folder.

    about: the identity that its numbers depend on. Processes may share a folder: shards registered in the manifest are
    complete, and file locks keep two processes from building the same unit (see `lock`).
    Raises: CacheError if the folder has a cache with another identity, a torn or altered one, or can't be used.
    """

    def __init__(self, folder: Path, about: dict[str, Any], samples: int, views: int) -> None:
        self.folder = folder
        about = json.loads(json.dumps(about))
        if not os.path.exists(folder / FILE):
            with self._locked("manifest"):
                if not os.path.exists(folder / FILE):
                    self.manifest = Manifest(
                        key=manifests.cache_key(about),
                        about=about,
                        samples=samples,
                        views=views,
                        unit=SHARD_ROWS,
                        versions={name: version(name) for name in ("tutelage", "torch")},
                    )
                    self._write_manifest()
        self.manifest = manifests.read_manifest(folder)
        refuse_other_identity(folder, self.manifest, about | {"views": views, "samples": samples})

    @contextmanager
    def _locked(self, name: str, wait: bool = True) -> Iterator[None]:
        lock = FileLock(self.folder / f".{name}.lock", blocking=wait)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise
        except OSError as error:
            raise _cant_be_written(self.folder, error) from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def lock(self, name: str, wait: bool = True) -> Iterator[None]:
        """Lock this name for the process inside, and reload the manifest.

        Raises: filelock.Timeout if another process holds the lock and `wait` is False.
        """
        with self._locked(name, wait):
            self.manifest = manifests.read_manifest(self.folder)
            yield

    def register_tensors(self, tensors: dict[str, CachedTensor]) -> None:
        """Register tensors in the manifest; those that are registered stay unchanged.

        Raises: CacheError if one is registered with another shape or storage.
        """
        with self.lock("manifest"):
            for name, tensor in tensors.items():
                registered = self.manifest.tensors.setdefault(name, tensor)
                if registered != tensor:
                    raise CacheError(
                        f"the cache {self.folder} holds {name!r} as {registered.storage} of {registered.shape}, but "
                        "the "
                        f"run requires {tensor.storage} of {tensor.shape}; set cache=true, or name another folder."
                    )
            self._write_manifest()

    def write_shard(self, view: int, tensor: str, number: int, rows: Tensor) -> tuple[str, Shard]:
        """Write one shard; return its name and its entry for the manifest. To be called inside `lock`.

        Raises: NotFinite if the teacher's outputs aren't finite; CacheError if they are too large for the storage, or
        if the disk is full.
        """
        from safetensors.torch import save

        cached_tensor = self.manifest.tensors[tensor]
        codec = get_codec(cached_tensor.storage, cached_tensor.shape[0])
        first = number * cached_tensor.rows
        not_finite = (~rows.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
        if not_finite:
            raise NotFinite(
                f"the teacher outputs NaN or infinite numbers ({tensor}) for training sample {first + not_finite[0]} "
                "in "
                f"view {view}, so they aren't cached; check its weights, and whether its images are normalised as in "
                "its training (tutelage check)."
            )
        parts = codec.encode(rows.permute(0, 2, 3, 1).contiguous() if cached_tensor.nhwc else rows.contiguous())
        stored = codec.decode(parts)
        stored = stored.permute(0, 3, 1, 2) if cached_tensor.nhwc else stored
        if not stored.isfinite().all():
            raise CacheError(
                f"the teacher's outputs ({tensor}, up to {rows.abs().max():.4g}) are too large to be stored as "
                f"{cached_tensor.storage}; use cache_storage=bf16 or exact."
            )
        name = shard_name(view, tensor, number)
        key = {"key": self.manifest.key}
        content = save({f"{tensor}.{part}" if part else tensor: x for part, x in parts.items()}, key)
        self._put(name, lambda: write_atomically(self.folder / name, lambda file: file.write(content)))
        return name, Shard(
            sha256=hashlib.sha256(content).hexdigest(),
            rows=len(rows),
            kl=_kl(rows, stored) if is_response(tensor) else 0.0,
            squared_norm=rows.double().pow(2).sum().item(),
            squared_error=(rows - stored).double().pow(2).sum().item(),
        )

    def register_shards(self, shards: dict[str, Shard]) -> None:
        """Add shards to the manifest, so that other processes can read them."""
        with self.lock("manifest"):
            self.manifest.shards |= shards
            self._write_manifest()

    def _write_manifest(self) -> None:
        self._put(FILE, lambda: self.manifest.write(self.folder))

    def _put(self, name: str, write: Callable[[], None]) -> None:
        """Write a file that no other process is writing, and remove what killed processes left of it."""
        try:
            for remnant in self.folder.glob(f".{glob.escape(name)}.*"):
                remnant.unlink()
            write()
        except (OSError, TutelageError) as error:
            raise _cant_be_written(self.folder, error.__cause__ or error) from error

    def read_view(self, view: int, tensor: str) -> CachedView:
        """Return a complete view of a tensor, verified and memory-mapped.

        Raises: CacheError naming the file that is missing, torn, altered or of another cache.
        """
        cached_tensor = self.manifest.tensors[tensor]
        parts = [self.read_shard(name, tensor) for name in self.manifest.shard_names(view, tensor)]
        return CachedView(cached_tensor, get_codec(cached_tensor.storage, cached_tensor.shape[0]), parts)

    def read_shard(self, name: str, tensor: str) -> EncodedTensors:
        """Return one shard's parts, memory-mapped, after checking its sha256.

        Raises: CacheError if the shard is missing, torn, altered or of another cache.
        """
        from safetensors import SafetensorError, safe_open

        path, shard = self.folder / name, self.manifest.shards[name]
        mend = f"`tutelage cache prune {self.folder}` removes what is broken, and the next run builds it again."
        try:
            if sha256_of_file(path) != shard.sha256:
                raise CacheError(f"{path} is torn or was altered: its SHA-256 isn't the manifest's. {mend}")
            with safe_open(path, "pt") as file:
                key = (file.metadata() or {}).get("key")
            parts = {name.removeprefix(tensor).removeprefix("."): x for name, x in map_tensors(path).items()}
        except FileNotFoundError as error:
            raise CacheError(f"{path} is missing. {mend}") from error
        except OSError as error:
            raise CacheError(f"{path} can't be read ({error.strerror}). {mend}") from error
        except SafetensorError as error:
            raise CacheError(f"{path} is no safetensors file ({error}). {mend}") from error
        if key != self.manifest.key or {x.shape[:1] for x in parts.values()} != {(shard.rows,)}:
            raise CacheError(f"{path} belongs to another cache. {mend}")
        return parts


def _cant_be_written(folder: Path, error: BaseException) -> CacheError:
    reason = getattr(error, "strerror", None) or error
    return CacheError(
        f"the cache {folder} can't be written ({reason}); free some space, or name a writable folder (cache=FOLDER). "
        "Existing shards stay, and the next run continues from them."
    )


def plan_storage(shape: Sequence[int], name: str, nhwc: bool, unit: int) -> CachedTensor:
    """Choose how a tensor of this shape is stored: shards of unit, unit/2, unit/4 … samples, of at most 64 MiB."""
    parts = get_codec(name, shape[0]).encode(torch.zeros(1, *shape))
    size = sum(x.numel() * x.element_size() for x in parts.values())
    rows = unit
    while rows % 2 == 0 and rows * size > SHARD_BYTES:
        rows //= 2
    return CachedTensor(shape=tuple(shape), storage=name, nhwc=nhwc and not name.startswith("top"), rows=rows)


def _kl(x: Tensor, stored: Tensor) -> float:
    """Return Σ over rows of KL(softmax(x) ‖ softmax(stored)) along dim 1, averaged over positions."""
    p, q = (F.log_softmax(z.double(), dim=1) for z in (x, stored))
    divergence = F.kl_div(q, p, reduction="none", log_target=True).sum(1)
    return divergence.flatten(1).mean(1).sum().item() if divergence.dim() > 1 else divergence.sum().item()


def find_broken_shards(folder: Path) -> dict[str, str]:
    """Return the faults of a cache's shards, by name.

    Raises: CacheError if there is no sound manifest.
    """
    manifest = manifests.read_manifest(folder)
    store = CacheStore(folder, manifest.about, manifest.samples, manifest.views)
    faults: dict[str, str] = {}
    for tensor in manifest.tensors:
        names = (name for view in range(manifest.views) for name in manifest.shard_names(view, tensor))
        for name in (name for name in names if name in manifest.shards):
            try:
                store.read_shard(name, tensor)
            except CacheError as error:
                faults[name] = str(error)
    return faults


def prune(folder: Path) -> list[str]:
    """Remove broken shards and unregistered files; return their names. Not for use while a run builds the cache."""
    faults = find_broken_shards(folder)
    manifest = manifests.read_manifest(folder)
    for name in faults:
        del manifest.shards[name]
    if faults:
        manifest.write(folder)  # before the files are removed: registered shards always exist
    stray = [path.name for path in folder.iterdir() if path.is_file() and path.name not in {FILE, *manifest.shards}]
    for name in {*faults, *stray}:
        (folder / name).unlink(missing_ok=True)
    return sorted({*faults, *(name for name in stray if not name.endswith(".lock"))})
