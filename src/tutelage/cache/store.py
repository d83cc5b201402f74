"""Shards on disk: written whole, registered in the manifest, read by memory map."""

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
from tutelage.cache.codecs import Codec, Parts, storage
from tutelage.cache.manifest import FILE, CachedTensor, Manifest, Shard, is_response, refuse_other, shard_name
from tutelage.cache.mmap import mapped
from tutelage.errors import CacheError, NotFinite, TutelageError
from tutelage.utils.files import sha256, write_atomically

SHARD_BYTES = 64 * 2**20
SHARD_ROWS = 8192


@dataclass
class Rows:
    """A view of a tap, every sample of it: its parts by shard, memory-mapped."""

    tap: CachedTensor
    storage: Codec
    parts: list[Parts]

    def __getitem__(self, index: Tensor) -> Tensor:
        """The rows of these sample numbers, in float32, as the teacher gave them."""
        rows = self.storage.decode(self._stored(index))
        return rows.permute(0, 3, 1, 2) if self.tap.nhwc else rows

    def _stored(self, index: Tensor) -> Parts:
        if len(self.parts) == 1:
            return {name: part.index_select(0, index) for name, part in self.parts[0].items()}
        shard, row = index.div(self.tap.rows, rounding_mode="floor"), index % self.tap.rows
        order = shard.argsort(stable=True)
        counts = torch.bincount(shard, minlength=len(self.parts)).tolist()
        lots = [(parts, rows) for parts, rows in zip(self.parts, row[order].split(counts), strict=True) if len(rows)]
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        return {
            name: torch.cat([parts[name].index_select(0, rows) for parts, rows in lots]).index_select(0, back)
            for name in self.parts[0]
        }


class Store:
    """A cache's folder.

    about: what its numbers depend on. Processes may share a folder: what is registered in the manifest is whole, and
    nobody does what somebody else is doing (see `working`).
    Raises: CacheError if the folder holds a cache of something else, or one that is torn or altered, or can't be used.
    """

    def __init__(self, folder: Path, about: dict[str, Any], samples: int, views: int) -> None:
        self.folder = folder
        about = json.loads(json.dumps(about))
        if not os.path.exists(folder / FILE):
            with self._locked("manifest"):
                if not os.path.exists(folder / FILE):
                    self.manifest = Manifest(
                        key=manifests.key_of(about),
                        about=about,
                        samples=samples,
                        views=views,
                        unit=SHARD_ROWS,
                        versions={name: version(name) for name in ("tutelage", "torch")},
                    )
                    self._write_manifest()
        self.manifest = manifests.read(folder)
        refuse_other(folder, self.manifest, about | {"views": views, "samples": samples})

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
    def working(self, name: str, wait: bool = True) -> Iterator[None]:
        """Inside, no other process works on what has this name; the manifest is as the last one left it.

        Raises: filelock.Timeout if another one does and it isn't to be waited for.
        """
        with self._locked(name, wait):
            self.manifest = manifests.read(self.folder)
            yield

    def add(self, taps: dict[str, CachedTensor]) -> None:
        """Make room for what the teacher says; a tap that is there stays as it is.

        Raises: CacheError if it is there in another shape or storage.
        """
        with self.working("manifest"):
            for name, tap in taps.items():
                there = self.manifest.taps.setdefault(name, tap)
                if there != tap:
                    raise CacheError(
                        f"the cache {self.folder} holds {name!r} as {there.storage} of {there.shape}, asked for as "
                        f"{tap.storage} of {tap.shape}; leave `cache` at true, or name another folder."
                    )
            self._write_manifest()

    def write(self, view: int, tap: str, number: int, rows: Tensor) -> tuple[str, Shard]:
        """Write one shard; returns its name and what is to be registered. Inside `working` on its samples.

        Raises: NotFinite if the teacher's answers aren't; CacheError if they are too large for the storage, or if the
        disk is full.
        """
        from safetensors.torch import save

        about = self.manifest.taps[tap]
        held = storage(about.storage, about.shape[0])
        first = number * about.rows
        bad = (~rows.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
        if bad:
            raise NotFinite(
                f"the teacher answers NaN or infinite numbers ({tap}) to training sample {first + bad[0]} in view "
                f"{view}, so its answers aren't kept; look at its weights, and whether its images are normalised as it "
                "was trained (tutelage check)."
            )
        parts = held.encode(rows.permute(0, 2, 3, 1).contiguous() if about.nhwc else rows.contiguous())
        stored = held.decode(parts)
        stored = stored.permute(0, 3, 1, 2) if about.nhwc else stored
        if not stored.isfinite().all():
            raise CacheError(
                f"the teacher's numbers ({tap}, up to {rows.abs().max():.4g}) are too large to be stored as "
                f"{about.storage}; use cache_storage=bf16 or exact."
            )
        name = shard_name(view, tap, number)
        content = save({f"{tap}.{part}" if part else tap: x for part, x in parts.items()}, {"key": self.manifest.key})
        self._put(name, lambda: write_atomically(self.folder / name, lambda file: file.write(content)))
        return name, Shard(
            sha256=hashlib.sha256(content).hexdigest(),
            rows=len(rows),
            kl=_kl(rows, stored) if is_response(tap) else 0.0,
            squares=rows.double().pow(2).sum().item(),
            off=(rows - stored).double().pow(2).sum().item(),
        )

    def register(self, shards: dict[str, Shard]) -> None:
        """Let others see these shards."""
        with self.working("manifest"):
            self.manifest.shards |= shards
            self._write_manifest()

    def _write_manifest(self) -> None:
        self._put(FILE, lambda: self.manifest.write(self.folder))

    def _put(self, name: str, write: Callable[[], None]) -> None:
        """Write a file that only this process writes now, and clear away what killed ones left of it."""
        try:
            for torn in self.folder.glob(f".{glob.escape(name)}.*"):
                torn.unlink()
            write()
        except (OSError, TutelageError) as error:
            raise _cant_be_written(self.folder, error.__cause__ or error) from error

    def rows(self, view: int, tap: str) -> Rows:
        """A complete view, checked and mapped.

        Raises: CacheError naming the file that is missing, torn, altered or of another cache.
        """
        about = self.manifest.taps[tap]
        parts = [self.checked(name, tap) for name in self.manifest.names(view, tap)]
        return Rows(about, storage(about.storage, about.shape[0]), parts)

    def checked(self, name: str, tap: str) -> Parts:
        """One shard's parts, memory-mapped, if its bytes are those that were written.

        Raises: CacheError.
        """
        from safetensors import SafetensorError, safe_open

        path, shard = self.folder / name, self.manifest.shards[name]
        mend = f"`tutelage cache prune {self.folder}` removes what is broken, and the next run builds it again."
        try:
            if sha256(path) != shard.sha256:
                raise CacheError(f"{path} is torn or was altered: its SHA-256 isn't the manifest's. {mend}")
            with safe_open(path, "pt") as file:
                key = (file.metadata() or {}).get("key")
            parts = {name.removeprefix(tap).removeprefix("."): part for name, part in mapped(path).items()}
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
    why = getattr(error, "strerror", None) or error
    return CacheError(
        f"the cache {folder} can't be written ({why}); free some space, or name a folder that can (cache=FOLDER). "
        "What is there stays, and the next run goes on from it."
    )


def plan(shape: Sequence[int], name: str, nhwc: bool, unit: int) -> CachedTensor:
    """How a tap of this shape is stored: shards of unit, unit/2, unit/4 … samples, of at most 64 MiB."""
    one = storage(name, shape[0]).encode(torch.zeros(1, *shape))
    size = sum(x.numel() * x.element_size() for x in one.values())
    rows = unit
    while rows % 2 == 0 and rows * size > SHARD_BYTES:
        rows //= 2
    return CachedTensor(shape=tuple(shape), storage=name, nhwc=nhwc and not name.startswith("top"), rows=rows)


def _kl(x: Tensor, stored: Tensor) -> float:
    """Σ over rows of KL(softmax(x) ‖ softmax(stored)) along dim 1, averaged over positions."""
    p, q = (F.log_softmax(z.double(), dim=1) for z in (x, stored))
    divergence = F.kl_div(q, p, reduction="none", log_target=True).sum(1)
    return divergence.flatten(1).mean(1).sum().item() if divergence.dim() > 1 else divergence.sum().item()


def broken(folder: Path) -> dict[str, str]:
    """What is wrong with a cache's shards, by name.

    Raises: CacheError if there is no sound manifest.
    """
    found = manifests.read(folder)
    store = Store(folder, found.about, found.samples, found.views)
    faults: dict[str, str] = {}
    for tap in found.taps:
        for name in (n for view in range(found.views) for n in found.names(view, tap) if n in found.shards):
            try:
                store.checked(name, tap)
            except CacheError as error:
                faults[name] = str(error)
    return faults


def prune(folder: Path) -> list[str]:
    """Remove broken shards and files that no manifest knows; returns their names. Not while a run builds the cache."""
    faults = broken(folder)
    found = manifests.read(folder)
    for name in faults:
        del found.shards[name]
    if faults:
        found.write(folder)  # before they go: what it knows is there
    stray = [path.name for path in folder.iterdir() if path.is_file() and path.name not in {FILE, *found.shards}]
    for name in {*faults, *stray}:
        (folder / name).unlink(missing_ok=True)
    return sorted({*faults, *(name for name in stray if not name.endswith(".lock"))})
