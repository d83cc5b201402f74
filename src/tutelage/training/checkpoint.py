"""Checkpoints that survive a killed process, each verified by its SHA-256."""

from __future__ import annotations

import math
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
from tutelage.utils.files import sha256_of_file, write_atomically, write_text

KEPT = 2
"""The number of checkpoints that are kept."""


@dataclass
class Progress:
    """The progress of a training.

    Args:
        step: the number of batches so far.
        epoch: the number of complete epochs.
        position: the number of batches of the current epoch.
        best: the best validation metric so far.
        best_epoch: the epoch of the best metric, from 1.
        seconds: the training time.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    best: float | None = None
    best_epoch: int = 0
    seconds: float = 0.0

    def next_batch(self) -> None:
        """Count one batch."""
        self.step += 1
        self.position += 1

    def next_epoch(self) -> None:
        """Count one epoch, and begin the next."""
        self.epoch += 1
        self.position = 0

    def is_better(self, value: float, higher_is_better: bool) -> bool:
        """Return whether a validation metric beats the best so far; NaN beats nothing, and every number beats NaN."""
        if self.best is None or math.isnan(self.best):
            return self.best is None or not math.isnan(value)
        return value > self.best if higher_is_better else value < self.best

    def set_best(self, value: float) -> None:
        """Record the best metric, of the epoch that ends now."""
        self.best, self.best_epoch = value, self.epoch + 1

    def add_seconds(self, began: float) -> float:
        """Add the seconds since `began`, a value of `time.perf_counter`; return its value now."""
        now = time.perf_counter()
        self.seconds += now - began
        return now


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write `step-N.pt`, then its digest; keep the newest two checkpoints."""
    path = folder / f"step-{step:09d}.pt"
    write_atomically(path, lambda file: torch.save(state, file))
    write_text(path.with_suffix(".sha256"), sha256_of_file(path))
    remove_old(folder, KEPT)
    return path


def remove_old(folder: Path, kept: int) -> None:
    """Remove all checkpoints except the newest `kept`, and the folder if none is kept."""
    paths = sorted(folder.glob("step-*.pt"))
    for old in paths[: max(len(paths) - kept, 0)]:
        for file in (old.with_suffix(".sha256"), old):
            if not file.is_dir():  # a folder of that name isn't a checkpoint
                file.unlink(missing_ok=True)
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)


def describe_newest(folder: Path | None) -> str:
    """Return a sentence that names the newest intact checkpoint, if there is one."""
    newest = max(filter(_is_whole, folder.glob("step-*.pt")), default=None) if folder else None
    return f"The checkpoint {newest} is sound." if newest else "No checkpoint was written before."


def load(folder: Path, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """Load the newest intact checkpoint; None if none was ever complete; `warn` receives a message for each torn one.

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
    return path.is_file() and digest.is_file() and digest.read_bytes() == sha256_of_file(path).encode()


def random_state() -> dict[str, Any]:
    """Return the global random states of Python, NumPy, torch and the GPUs."""
    version, numbers, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()
    state: dict[str, Any] = {  # the numbers as tensors, which are written much faster than Python's
        "python": (version, torch.tensor(numbers), gauss),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Restore the states that `random_state` returned."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
