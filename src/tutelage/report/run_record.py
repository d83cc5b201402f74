"""Read a run folder; a missing or torn file becomes a note, and only `result.json` must be intact."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from tutelage.errors import CheckpointError
from tutelage.report.components import Unit, is_number
from tutelage.report.metrics import Labels
from tutelage.utils import checksums

T = TypeVar("T")
ROLES = ("teacher", "baseline", "student")


@dataclass(frozen=True)
class Examples:
    """Samples to show: index (K,), images (K, H, W, 3) uint8, and target masks (K, H, W) or maps (K, C, h, w).

    objects: (K, M, 6) x₁, y₁, x₂, y₂, 1, class, -1 in rows without one, for detection. sizes: (K, 2) the height and
    width of the boxes' images. note: A remark on how the images are shown.
    """

    index: Labels
    images: np.ndarray[Any, np.dtype[np.uint8]]
    masks: Labels | None = None
    objects: Any = None
    sizes: Any = None
    note: str = ""
    maps: Any = None


@dataclass(frozen=True)
class PhaseRecord:
    """One training in a run: phase.json, the lines of metrics.jsonl, and its arrays by name, if any.

    predictions: the task's, by sample, in the order of `index`. tables: the task's. masks, maps: the predicted, by
    sample.
    """

    folder: str
    role: str
    info: dict[str, Any]
    metrics: list[dict[str, Any]]
    predictions: dict[str, Any] = field(default_factory=dict)
    masks: dict[int, Labels] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    maps: dict[int, Any] = field(default_factory=dict)

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """Return the metrics of a kind: "step", "norms" or "epoch"."""
        return [line for line in self.metrics if line.get("kind") == kind]

    @property
    def seed(self) -> str:
        """The seed as text; a dash if it is unknown."""
        return str(self.info.get("seed", "–"))


@dataclass
class RunRecord:
    """A run folder in memory; `notes` lists the files that couldn't be read; `command` repeats the run, if one does."""

    path: Path
    result: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    phases: list[PhaseRecord] = field(default_factory=list)
    examples: Examples | None = None
    notes: list[str] = field(default_factory=list)
    command: str | None = None

    def phases_with_role(self, role: str) -> list[PhaseRecord]:
        """Return the phases of a role: "teacher", "baseline" or "student"."""
        return [phase for phase in self.phases if phase.role == role]

    def phases_named(self, name: str) -> list[PhaseRecord]:
        """Return the phases of one of several teachers, or of a stage, by its name."""
        return [phase for phase in self.phases if name in (phase.folder, phase.folder.rpartition("-")[0])]

    def summary(self, role: str) -> dict[str, Any]:
        """Return the summary of a role in result.json; empty if there is none."""
        return self.result.get(role) or {}

    @property
    def metric(self) -> str:
        """The name of the main metric."""
        return str(self.result["metric"])

    @property
    def judged_on(self) -> str:
        """The split of the figures in words: "test" or "validation"."""
        return "validation" if self.result.get("judged_on") == "val" else "test"

    @property
    def unit(self) -> Unit:
        """The format of the main metric: percentages if higher is better and all values lie between 0 and 1."""
        values = [self.summary(role).get(self.metric) for role in ROLES]
        return Unit.of(filter(is_number, values), bool(self.result.get("higher_is_better", True)))

    def label(self, role: str) -> str:
        """Return the label of a role; it is "Student" if there is only one student, without a comparison."""
        if role == "teacher":
            return "Teacher"
        known = {phase.role for phase in self.phases} | {name for name in ROLES if self.summary(name)}
        return {"baseline": "Alone", "student": "Taught"}[role] if {"baseline", "student"} <= known else "Student"

    @property
    def data(self) -> dict[str, Any]:
        """The name, sizes and classes of the data."""
        return self.result.get("data") or {}

    def class_name(self, i: int) -> str:
        """Return the name of a class, or its number if the classes have no names."""
        names = self.data.get("classes") or []
        return str(names[i]) if i < len(names) else str(i)


def read(path: Path) -> RunRecord:
    """Read a run folder.

    Raises: CheckpointError if the folder or its result.json is missing or torn.
    """
    run = RunRecord(path, _result(path))
    run.config = _try(run, path / "config.yaml", lambda p: yaml.safe_load(p.read_text("utf-8")), dict) or {}
    run.environment = _try(run, path / "environment.json", _json, dict) or {}
    for file in sorted(path.glob("*/phase.json"), key=_by_name_and_seed):
        phase = _phase(run, file.parent)
        if phase is not None:
            run.phases.append(phase)
    run.examples = _try(run, path / "examples.npz", _examples, Examples)
    return run


def _result(path: Path) -> dict[str, Any]:
    file = path / "result.json"
    mend = "pass the folder of a finished run, or finish this run with `tutelage resume`."
    try:
        result = json.loads(checksums.read_verified(file))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(f"no result.json in {str(path)!r}, and a report is written from it: {mend}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(file)!r} can't be read ({error}): it is torn; {mend}") from error
    if not isinstance(result, dict) or "metric" not in result:
        raise CheckpointError(f"{str(file)!r} isn't the result of a run (expected an object with 'metric'): {mend}")
    invalid = [name for name in (*ROLES, "gain", "data") if not isinstance(result.get(name) or {}, dict)]
    if invalid:
        raise CheckpointError(f"{str(file)!r}: expected an object or null for {', '.join(invalid)}; {mend}")
    return result


def _by_name_and_seed(file: Path) -> tuple[str, int]:
    name, _, seed = file.parent.name.rpartition("-")
    return (name, int(seed)) if seed.isdigit() else (file.parent.name, 0)


def _phase(run: RunRecord, folder: Path) -> PhaseRecord | None:
    facts = _try(run, folder / "phase.json", _json, dict)
    if facts is None:
        return None
    metrics = _try(run, folder / "metrics.jsonl", read_lines, list) or []
    return PhaseRecord(
        folder.name,
        str(facts.get("role")),
        facts,
        metrics,
        _try(run, folder / "predictions.npz", read_arrays, dict) or {},
        _try(run, folder / "masks.npz", _masks, dict) or {},
        _try(run, folder / "tables.npz", read_arrays, dict) or {},
        _try(run, folder / "maps.npz", _maps, dict) or {},
    )


def _try(run: RunRecord, file: Path, load: Callable[[Path], Any], kind: type[T]) -> T | None:
    """Load a file of the run folder; None if it is missing, and also a note if it can't be read."""
    if not file.exists():
        return None
    try:
        checksums.verify(file)
        value = load(file)
        if isinstance(value, kind):
            return value
        problem = f"expected a {kind.__name__}, got {type(value).__name__}"
    except (OSError, ValueError, KeyError, EOFError, yaml.YAMLError, zipfile.BadZipFile, CheckpointError) as error:
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
    run.notes.append(f"{file.relative_to(run.path)} can't be read ({problem}): the sections that need it are left out.")
    return None


def _json(file: Path) -> Any:
    return json.loads(file.read_text("utf-8"))


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Read the lines of a .jsonl file, without the torn line that a killed run may leave."""
    lines = []
    for line in file.read_text("utf-8", errors="replace").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            lines.append(value)
    return lines


def validation_points(lines: Iterable[Mapping[str, Any]], metric: str) -> list[tuple[int, float]]:
    """Return (epoch, value) of a validation metric, from the lines of a metrics.jsonl; NaN is a value too."""
    return [
        (line["epoch"], line["val"][metric])
        for line in lines
        if line.get("kind") == "epoch" and isinstance((line.get("val") or {}).get(metric), int | float)
    ]


def read_validation(training: Path, metric: str) -> list[tuple[int, float]]:
    """Read (epoch, value) of a validation metric from a training's folder; empty if it has written none yet."""
    file = training / "metrics.jsonl"
    return validation_points(read_lines(file), metric) if file.is_file() else []


def read_arrays(file: Path) -> dict[str, Any]:
    """Read arrays by name from a phase's .npz file; those of samples have `index` and are put in its order.

    Raises: ValueError if arrays of samples differ in length, are empty or have numbers that aren't finite.
    """
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        values = dict(arrays)
    if "index" not in values:
        return values
    lengths = {name: len(x) for name, x in values.items()}
    if len({*lengths.values()}) > 1 or not len(values["index"]):
        raise ValueError(f"its arrays differ in length, or are empty: {lengths}")
    if not all(np.isfinite(x).all() for x in values.values()):
        raise ValueError("a number isn't finite")
    order = np.argsort(values["index"], kind="stable")
    return {name: x[order] for name, x in values.items()}


def _examples(file: Path) -> Examples:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        values = dict(arrays)
        more = {name: values.get(name) for name in ("masks", "objects", "sizes", "maps")}
        return Examples(values["index"], values["images"], note=str(values.get("note", "")), **more)


def _masks(file: Path) -> dict[int, Labels]:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return dict(zip(arrays["index"].tolist(), arrays["masks"], strict=True))


def _maps(file: Path) -> dict[int, Any]:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return dict(zip(arrays["index"].tolist(), arrays["maps"], strict=True))
