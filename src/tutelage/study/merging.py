"""Studies of several machines in one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage.config import parsing
from tutelage.errors import ConfigError, shown
from tutelage.study.same_data import refuse_other_data
from tutelage.study.settings import FILE, LISTS, recorded
from tutelage.study.store import Store, StoredTrial
from tutelage.study.trial import ENDED, State, refuse_other_keys
from tutelage.utils.files import write_text

WORTH: tuple[State, ...] = ("failed", "stopped", "done")
"""The states of a trial that is copied, in the order in which they are preferred."""


def merge(folders: Sequence[Path], out: Path) -> Store:
    """Copy the finished trials of several studies with the same keys into a new one; return its store.

    Of a trial that several have, one that is done is taken rather than one that failed.

    Raises: ConfigError if the studies' keys or data differ, or the folder isn't empty.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"out={out} exists already and isn't an empty folder: choose another one.")
    sources = [Store.open(folder) for folder in folders]
    for source in sources[1:]:
        for name in ("keys", "threads", "protocol"):
            if difference := _difference(name, source.get(name), sources[0].get(name)):
                raise ConfigError(
                    f"{source.folder} has {difference[0]}, and {sources[0].folder} has {difference[1]}: their rows "
                    "aren't comparable: merge studies that were begun with the same keys."
                )
    found = [(source, source.trials()) for source in sources]
    refuse_other_keys(stored.trial for _, trials in found for stored in trials.values())
    data: dict[str, str] = {}
    for run in [source.folder / x.folder for source, trials in found for x in trials.values() if x.state == "done"]:
        refuse_other_data(run, data.setdefault)
    settings = [recorded(source.folder) for source in sources]
    if any(each["pairs"] for each in settings):
        settings = [_in_pairs(each) for each in settings]
    merged = settings[0] | {"out": str(out), "seeds": max(each["seeds"] for each in settings)}
    merged |= {key: [*{repr(x): x for each in settings for x in each[key]}.values()] for key in LISTS}
    target = Store(out)
    for name in ("keys", "threads", "protocol", "versions"):
        target.set_default(name, sources[0].get(name))
    for name, fingerprint in data.items():
        target.set_default(name, fingerprint)
    for source, trials in found:
        target.add(stored.trial for stored in trials.values())
        _copy(source.folder, trials, target)
    write_text(out / FILE, parsing.dump(merged))
    return target


def _in_pairs(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study's settings with all students by all teachers written out as pairs, if it has none."""
    students, teachers = settings["students"], settings["teachers"]
    every = [{"teacher": teacher, "student": student} for student in students for teacher in teachers]
    return {**settings, "students": [], "teachers": [], "pairs": settings["pairs"] or every}


def _difference(name: str, own: Any, other: Any) -> tuple[str, str] | None:
    """Return the first setting in which two values of studies differ, of each; None if they are the same."""
    if own == other:
        return None
    if not (isinstance(own, dict) and isinstance(other, dict)):
        return f"{name}={own}", f"{name}={other}"
    key = next(key for key in sorted({*own, *other}) if own.get(key, ...) != other.get(key, ...))
    return f"{key}={shown(own.get(key))}", f"{key}={shown(other.get(key))}"


def _copy(folder: Path, trials: Mapping[str, StoredTrial], target: Store) -> None:
    """Copy the trials that have ended, and better than those of the target, with their folders."""
    there = target.trials()
    for name, stored in trials.items():
        before = there[name].state
        if stored.state not in ENDED or (before in WORTH and WORTH.index(before) >= WORTH.index(stored.state)):
            continue
        shutil.rmtree(target.folder / stored.folder, ignore_errors=True)  # of a trial that failed
        if (folder / stored.folder).is_dir():
            shutil.copytree(folder / stored.folder, target.folder / stored.folder)
        target.end(name, stored.state, stored.reason, stored.seconds, stored.result)
