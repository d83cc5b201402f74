"""Trainings that are compared have the same data: others are refused, whichever process loaded them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.config.schema import check
from tutelage.errors import ConfigError
from tutelage.study.engines.base import Ended
from tutelage.study.merging import merge
from tutelage.study.same_data import refuse_other_data
from tutelage.study.settings import separate
from tutelage.study.study import Study
from tutelage.utils import checksums

KEYS: dict[str, Any] = {"data": "digits", "epochs": 1, "students": ["cnn2"], "teachers": [], "methods": ["cs_kd"]}


def begin(run: Path, fingerprint: str, **keys: Any) -> Path:
    """Make a run folder with what was recorded at its begin, and a result."""
    run.mkdir(parents=True)
    config = check({"data": "digits", "student": "cnn2", "teacher": "none", "method": None} | keys).model_dump()
    checksums.write_recorded(run / "environment.json", json.dumps({"data": fingerprint, "config": config}, default=str))
    checksums.write_recorded(run / "result.json", json.dumps({"metric": "accuracy"}))
    return run


def test_runs_of_the_same_keys_have_the_same_data(tmp_path: Path) -> None:
    known: dict[str, str] = {}
    refuse_other_data(begin(tmp_path / "first", "a"), known.setdefault)
    refuse_other_data(begin(tmp_path / "seed", "a", seed=3), known.setdefault)
    refuse_other_data(begin(tmp_path / "form", "b", limit=60), known.setdefault)
    refuse_other_data(tmp_path / "none", known.setdefault)
    with pytest.raises(ConfigError, match="each process that loads them draws others"):
        refuse_other_data(begin(tmp_path / "other", "b", seed=4), known.setdefault)


def study(folder: Path, data: list[str], **keys: Any) -> Study:
    """Begin a study, and record that its first trials ended, with these data."""
    begun = Study(*separate(KEYS | {"out": str(folder), "seeds": 2} | keys))
    for name, of_trial in zip(begun.store.trials(), data, strict=False):
        stored = begun.store.trials()[name]
        begin(folder / stored.folder, of_trial, **{k: x for k, x in stored.trial.keys.items() if k != "out"})
        begun._record(Ended(name, "done"), stored, lambda *ended: None)
    return begun


def test_a_study_ends_at_a_trial_with_other_data(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has other data than the trainings before it"):
        study(tmp_path / "s", ["a", "b"])
    states = [stored.state for stored in Study(*separate(KEYS | {"out": str(tmp_path / "s")})).store.trials().values()]
    assert states[:2] == ["done", "failed"]


def test_studies_of_other_data_arent_merged(tmp_path: Path) -> None:
    folders = [study(tmp_path / name, [name]).folder for name in "ab"]
    with pytest.raises(ConfigError, match="has other data than the trainings before it"):
        merge(folders, tmp_path / "both")
    assert not (tmp_path / "both").exists()
    merged = merge([folders[0], study(tmp_path / "again", ["a"]).folder], tmp_path / "both")
    name = next(name for name, value in merged.connection.execute("SELECT name, value FROM study") if value == '"a"')
    assert name.startswith("data ")
