"""Checkpoints that survive being killed, each known by its SHA-256."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tutelage.errors import CheckpointError
from tutelage.utils.files import sha256, write_atomically, write_text

KEPT = 2


@dataclass
class Progress:
    """The progress of a training: steps, whole epochs, batches of the current epoch, and the best validation so far."""

    step: int = 0
    epoch: int = 0
    position: int = 0
    best: float | None = None
    best_epoch: int = 0
    seconds: float = 0.0

    def next_batch(self) -> None:
        """Count a batch."""
        self.step += 1
        self.position += 1

    def next_epoch(self) -> None:
        """Count an epoch."""
        self.epoch += 1
        self.position = 0

    def is_better(self, value: float, higher_is_better: bool) -> bool:
        """Return whether a validation metric beats the best so far."""
        return self.best is None or ((value > self.best) == higher_is_better and value != self.best)

    def note_best(self, value: float) -> None:
        """Make this the best, of the epoch that ends now."""
        self.best, self.best_epoch = value, self.epoch + 1

    def spend(self, began: float) -> float:
        """Add the seconds since `began`, a time of `time.perf_counter`; return the time now."""
        now = time.perf_counter()
        self.seconds += now - began
        return now


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write `step-N.pt` and, last, its digest; keep the newest two."""
    path = folder / f"step-{step:09d}.pt"
    write_atomically(path, lambda file: torch.save(state, file))
    write_text(path.with_suffix(".sha256"), sha256(path))
    forget(folder, KEPT)
    return path


def forget(folder: Path, kept: int) -> None:
    """Remove all but the newest checkpoints, and the folder if none is kept."""
    paths = sorted(folder.glob("step-*.pt"))
    for old in paths[: max(len(paths) - kept, 0)]:
        for file in (old.with_suffix(".sha256"), old):
            if not file.is_dir():  # a folder in its place is somebody's
                file.unlink(missing_ok=True)
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)


def left(folder: Path | None) -> str:
    """Return a sentence about the checkpoint to resume from."""
    newest = max(filter(_is_whole, folder.glob("step-*.pt")), default=None) if folder else None
    return f"The checkpoint {newest} is sound." if newest else "No checkpoint was written before."


def load(folder: Path, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """Return the newest whole checkpoint, None if there never was one; torn ones are named through `warn`.

    Raises: CheckpointError if there are checkpoints and all are torn.
    """
    paths = sorted(folder.glob("step-*.pt"), reverse=True)
    for path in paths:
        if _is_whole(path):
            return torch.load(path, map_location="cpu", weights_only=True)
        warn(f"checkpoint {path} is torn or was altered; the one before it is used.")
    whole_never_was = all(not path.with_suffix(".sha256").exists() for path in paths)
    if paths and not whole_never_was:
        raise CheckpointError(
            f"all checkpoints in {folder} are torn or were altered: {', '.join(p.name for p in paths)}. "
            "Delete them to begin this part again, or restore them from a copy."
        )
    return None


def _is_whole(path: Path) -> bool:
    digest = path.with_suffix(".sha256")
    return path.is_file() and digest.is_file() and digest.read_bytes() == sha256(path).encode()


def random_state() -> dict[str, Any]:
    """Return the global random states of Python, NumPy, torch and the GPUs."""
    kind, keys, *rest = np.random.get_state()
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(keys).tolist(), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Restore the states that `random_state` returned."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
