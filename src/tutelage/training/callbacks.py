"""What watches a training: each gets rows, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import CheckpointError
from tutelage.utils.files import write_text

Row = dict[str, Any]


class Callback:
    """Watches a training through its rows; every hook is empty here.

    A row has `kind`: "begin" (steps, epochs, pairs of layers by term), "step" (step, epoch, losses by term, lr),
    "norms" (gradient norms by term), "epoch" (epoch, val figures), "note" and "warning" (message), "end" (seconds).
    Rows come at log points, so that nothing waits for the device in between.
    """

    def begin(self, phase: str, phases: int) -> None:
        """A run of so many phases begins this one."""

    def note(self, row: Row) -> None:
        """Something happened."""

    def resume(self, step: int, epoch: int) -> None:
        """Training goes on from this step, with so many epochs validated: forget what came later."""


class JsonLines(Callback):
    """Appends each row to a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def note(self, row: Row) -> None:
        """Append it."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def resume(self, step: int, epoch: int) -> None:
        """Keep the rows up to there."""
        if not self.path.exists():
            return
        if not self.path.is_file():
            raise CheckpointError(f"{self.path} is no file: remove it; the rows of the training go there.")
        kept = [line for line in self.path.read_text(encoding="utf-8").splitlines() if _before(line, step, epoch)]
        write_text(self.path, "".join(line + "\n" for line in kept))


def _before(line: str, step: int, epoch: int) -> bool:
    try:
        row = json.loads(line)
    except ValueError:  # the last line, torn when the process was killed
        return False
    if row["kind"] == "epoch":
        return bool(row["epoch"] <= epoch)
    if row["kind"] in ("begin", "norms"):  # they come before their step
        return bool(row["step"] < step)
    return bool(row["step"] <= step and row["kind"] != "end")


class Logger(Callback):
    """Passes figures on to one of Fabric's loggers (TensorBoard, MLflow, W&B)."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def note(self, row: Row) -> None:
        """Log its numbers under flat names."""
        figures = flat({k: v for k, v in row.items() if k in ("losses", "norms", "val", "lr", "seconds")})
        if figures and "step" in row:
            self.logger.log_metrics({tag(name): value for name, value in figures.items()}, step=row["step"])
        if row["kind"] == "end":
            self.logger.finalize("success")


def tag(name: str) -> str:
    """A figure's name as every logger takes it: letters, digits, `_-. /`, and numbers for what else there is."""
    return "".join(c if c.isalnum() or c in "_-. /" else f"_{ord(c):x}_" for c in name)


def flat(figures: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """{"losses": {"kd": 1}} → {"losses/kd": 1}; what isn't a number is left out."""
    found: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            found[f"{prefix}{name}"] = float(value)
    return found
