"""What a run folder holds, read so that a missing or torn part becomes a note; only `result.json` must be whole."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from scipy.sparse import csr_array

from tutelage.errors import CheckpointError
from tutelage.report.components import Unit, is_number
from tutelage.report.metrics import Array, Labels
from tutelage.utils import checksums

T = TypeVar("T")
ROLES = ("teacher", "alone", "student")


@dataclass(frozen=True)
class Predictions:
    """What one model said of the test split: index (N,), targets (N,), probabilities (N, C)."""

    index: Labels
    targets: Labels
    probabilities: Array


@dataclass(frozen=True)
class Examples:
    """Test samples to show: index (K,), images (K, H, W, 3) uint8, and their masks (K, H, W), if they have such.

    said: what has to be said of how the images are shown.
    """

    index: Labels
    images: np.ndarray[Any, np.dtype[np.uint8]]
    masks: Labels | None = None
    said: str = ""


@dataclass(frozen=True)
class PhaseRecord:
    """One training in a run: phase.json, the lines of metrics.jsonl, predictions and masks by sample, if any."""

    folder: str
    role: str
    facts: dict[str, Any]
    metrics: list[dict[str, Any]]
    predictions: Predictions | None
    masks: dict[int, Labels] = field(default_factory=dict)
    confusion: csr_array | None = None
    """(C, C), rows = truth."""

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """The metrics of one kind: "step", "norms" or "epoch"."""
        return [line for line in self.metrics if line.get("kind") == kind]

    @property
    def seed(self) -> str:
        """The seed, as it is said."""
        return str(self.facts.get("seed", "–"))


@dataclass
class RunRecord:
    """A run folder in memory; `notes` says what couldn't be read."""

    path: Path
    result: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    phases: list[PhaseRecord] = field(default_factory=list)
    examples: Examples | None = None
    notes: list[str] = field(default_factory=list)

    def phases_with_role(self, role: str) -> list[PhaseRecord]:
        """The phases of a role: "teacher", "alone" or "student"."""
        return [phase for phase in self.phases if phase.role == role]

    def called(self, name: str) -> list[PhaseRecord]:
        """The phases of a member of several teachers, or of a stage, by its name."""
        return [phase for phase in self.phases if name in (phase.folder, phase.folder.rpartition("-")[0])]

    def summary(self, role: str) -> dict[str, Any]:
        """What result.json says of a role; empty if nothing."""
        return self.result.get(role) or {}

    @property
    def metric(self) -> str:
        """The name of the metric that decides."""
        return str(self.result["metric"])

    @property
    def unit(self) -> Unit:
        """How values of the metric are said: as percentages where higher is better and all lie within 0 and 1."""
        values = [self.summary(role).get(self.metric) for role in ROLES]
        known = [value for value in values if is_number(value)]
        return Unit(bool(self.result.get("higher_is_better", True)) and all(0 <= value <= 1 for value in known))

    def label(self, role: str) -> str:
        """What a role is called: there is only "Student" where one student was trained and compared with nothing."""
        if role == "teacher":
            return "Teacher"
        known = {phase.role for phase in self.phases} | {name for name in ROLES if self.summary(name)}
        return {"alone": "Alone", "student": "Taught"}[role] if {"alone", "student"} <= known else "Student"

    @property
    def data(self) -> dict[str, Any]:
        """Name, sizes and classes of the data."""
        return self.result.get("data") or {}

    def class_name(self, i: int) -> str:
        """The name of a class, or its number where there are no names."""
        names = self.data.get("classes") or []
        return str(names[i]) if i < len(names) else str(i)


def read(path: Path) -> RunRecord:
    """Read a run folder. Raises CheckpointError where it or its result.json is missing or torn."""
    run = RunRecord(path, _result(path))
    run.config = _try(run, path / "config.yaml", lambda p: yaml.safe_load(p.read_text("utf-8")), dict) or {}
    run.environment = _try(run, path / "environment.json", _json, dict) or {}
    for facts in sorted(path.glob("*/phase.json"), key=_order):
        phase = _phase(run, facts.parent)
        if phase is not None:
            run.phases.append(phase)
    run.examples = _try(run, path / "examples.npz", _examples, Examples)
    return run


def _result(path: Path) -> dict[str, Any]:
    file = path / "result.json"
    mend = "give the folder of a finished run, or finish this one by starting it again."
    try:
        result = json.loads(checksums.read(file))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(f"no result.json in {str(path)!r}, which a report is written from: {mend}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(file)!r} can't be read ({error}): it is torn; {mend}") from error
    if not isinstance(result, dict) or "metric" not in result:
        raise CheckpointError(f"{str(file)!r} isn't the result of a run (expected an object with 'metric'): {mend}")
    wrong = [name for name in (*ROLES, "gain", "data") if not isinstance(result.get(name) or {}, dict)]
    if wrong:
        raise CheckpointError(f"{str(file)!r}: expected an object or null for {', '.join(wrong)}; {mend}")
    return result


def _order(facts: Path) -> tuple[str, int]:
    name, _, seed = facts.parent.name.rpartition("-")
    return (name, int(seed)) if seed.isdigit() else (facts.parent.name, 0)


def _phase(run: RunRecord, folder: Path) -> PhaseRecord | None:
    facts = _try(run, folder / "phase.json", _json, dict)
    if facts is None:
        return None
    metrics = _try(run, folder / "metrics.jsonl", _lines, list) or []
    return PhaseRecord(
        folder.name,
        str(facts.get("role")),
        facts,
        metrics,
        _try(run, folder / "predictions.npz", _predictions, Predictions),
        _try(run, folder / "masks.npz", _masks, dict) or {},
        _try(run, folder / "confusion.npz", _confusion, csr_array),
    )


def _try(run: RunRecord, file: Path, load: Callable[[Path], Any], kind: type[T]) -> T | None:
    """What `load` makes of a file; None if there is none, and a note beside it if it can't be read."""
    if not file.exists():
        return None
    try:
        checksums.check(file)
        value = load(file)
        if isinstance(value, kind):
            return value
        problem = f"expected a {kind.__name__}, got {type(value).__name__}"
    except (OSError, ValueError, KeyError, EOFError, yaml.YAMLError, zipfile.BadZipFile, CheckpointError) as error:
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
    run.notes.append(f"{file.relative_to(run.path)} can't be read ({problem}): what needs it is left out.")
    return None


def _json(file: Path) -> Any:
    return json.loads(file.read_text("utf-8"))


def _lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a .jsonl file; a run that was killed may leave a torn one, which is passed over."""
    found = []
    for line in file.read_text("utf-8", errors="replace").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _predictions(file: Path) -> Predictions:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        said = Predictions(arrays["index"], arrays["targets"], arrays["probabilities"])
    if not len(said.index) == len(said.targets) == len(said.probabilities) or said.probabilities.ndim != 2:
        raise ValueError(f"index, targets and probabilities don't fit: probabilities {said.probabilities.shape}")
    if not len(said.index):
        raise ValueError("it holds no samples")
    outside = (said.targets < 0) | (said.targets >= said.probabilities.shape[1])
    if outside.any() or not np.isfinite(said.probabilities).all():
        raise ValueError(f"{int(outside.sum())} targets name no class, or a probability isn't finite")
    order = np.argsort(said.index, kind="stable")
    return Predictions(said.index[order], said.targets[order], said.probabilities[order])


def _confusion(file: Path) -> csr_array:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        classes = int(arrays["classes"])
        return csr_array((arrays["count"].astype(np.float64), (arrays["truth"], arrays["answer"])), (classes, classes))


def _examples(file: Path) -> Examples:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        kept = dict(arrays)
        return Examples(kept["index"], kept["images"], kept.get("masks"), str(kept.get("said", "")))


def _masks(file: Path) -> dict[int, Labels]:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return dict(zip(arrays["index"].tolist(), arrays["masks"], strict=True))
