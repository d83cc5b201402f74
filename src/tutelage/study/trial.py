"""A trial: one run of a study, identified by its configuration."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tutelage.errors import ConfigError, shown
from tutelage.utils.key_types import texts_within

Role = Literal["teacher", "alone", "method"]
State = Literal["waiting", "running", "paused", "done", "failed", "stopped"]
ENDED: tuple[State, ...] = ("done", "failed", "stopped")

TRIAL = "trial:"
"""The prefix of the id of a trial whose student teaches, in the place of a run folder."""
IN_STUDY = "study:"
"""The prefix of a path below the study's folder."""


@dataclass(frozen=True)
class StudyTrial:
    """One run of a study.

    Args:
        role: a teacher's training, the student alone, or a method.
        student, teacher, method: the names that tables show; empty where there is none.
        seed: the seed of the training.
        keys: the run's configuration, without `out`; a teacher that the study trains is "trial:ID".
        fault: why it can't be run; empty if it can.
    """

    role: Role
    student: str
    teacher: str
    method: str
    seed: int
    keys: Mapping[str, Any] = field(hash=False)
    fault: str = ""

    @property
    def id(self) -> str:
        """A name made of the role and the keys, the same for equal ones."""
        text = json.dumps([self.role, self.method, dict(self.keys)], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def folder(self) -> str:
        """The run's folder below the study's."""
        words = [self.role if self.role != "method" else self.method, self.student, self.teacher, str(self.seed)]
        return f"trials/{'-'.join(slug(word) for word in words if word)}-{self.id[:6]}"

    def requires(self) -> list[str]:
        """Return the ids of the trials whose students teach this one."""
        return sorted({name.removeprefix(TRIAL) for name in texts_within(self.keys) if name.startswith(TRIAL)})


def refuse_other_keys(trials: Iterable[StudyTrial]) -> None:
    """Refuse trials that are of one row and seed, but not the same.

    Raises: ConfigError that names the first key in which two differ.
    """
    first: dict[tuple[str, ...], StudyTrial] = {}
    for trial in trials:
        names = [trial.method or trial.role, trial.student, trial.teacher and f"by {trial.teacher}"]
        other = first.setdefault((trial.role, trial.student, trial.teacher, trial.method, str(trial.seed)), trial)
        if other.id != trial.id:
            both = {**other.keys, **trial.keys}
            key = next(key for key in both if other.keys.get(key) != trial.keys.get(key))
            raise ConfigError(
                f"{' '.join(filter(None, names))} has {key}={shown(other.keys.get(key))} and "
                f"{key}={shown(trial.keys.get(key))}, which tables can't tell apart: give a method another "
                "{name: …}; networks of one name belong into studies of their own (out=…)."
            )


def slug(name: str) -> str:
    """Return a name as part of a file name, at most 40 characters."""
    return re.sub(r"[^\w.+]+", "-", name.replace("*", "x")).strip("-.")[:40] or "x"


def resolved(value: Any, study: Path, folders: Mapping[str, str]) -> Any:
    """Return a configuration with paths in the place of names in the study; folders: of its trials by id, below it."""
    if isinstance(value, str):
        if value.startswith(TRIAL):
            return str(study / folders[value.removeprefix(TRIAL)])
        return str(study / value.removeprefix(IN_STUDY)) if value.startswith(IN_STUDY) else value
    if isinstance(value, Mapping):
        return {key: resolved(each, study, folders) for key, each in value.items()}
    return [resolved(each, study, folders) for each in value] if isinstance(value, list | tuple) else value
