"""Faults that all trainings of a study would have are told before the first, and no folder is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import tutelage
from tutelage.errors import ConfigError, TutelageError
from tutelage.study.preflight import refuse_doomed
from tutelage.study.settings import separate
from tutelage.study.study import Study
from tutelage.study.trial import StudyTrial

KEYS: dict[str, Any] = {"data": "digits", "limit": 64, "epochs": 1, "teacher_epochs": 1, "seeds": 1, "device": "cpu"}


@pytest.mark.parametrize(
    ("keys", "messages"),
    [
        ({"students": ["nonet", "cnn2", "cn4"], "teachers": ["cnn4"]}, ["nonet: unknown model", "cn4: unknown model"]),
        ({"students": ["cnn2", {"model": "cnn4", "lrr": 1}]}, ["cnn4: unknown key of a student 'lrr'"]),
        ({"students": ["cnn2"], "teachers": ["runs/lost"]}, ["runs/lost: unknown model"]),
        ({"students": ["cnn2"], "teachers": [{"model": "cnn4", "weights": "no.pt"}]}, ["no weights at no.pt"]),
        ({"data": "folder:nowhere", "students": ["cnn2"], "teachers": ["cnn4"]}, ["nowhere: can't be read"]),
        ({"metric": "acuracy"}, ["did you mean 'accuracy'"]),
        ({"limit": 3}, ["limit=3 training samples can't hold the 10 classes"]),
    ],
)
def test_what_nothing_can_be_trained_with_is_refused(tmp_path: Path, keys: dict[str, Any], messages: list[str]) -> None:
    with pytest.raises(TutelageError) as error:
        tutelage.compare(["dkd"], **(KEYS | keys | {"out": str(tmp_path / "study")}))
    assert all(message in str(error.value) for message in messages)
    assert not (tmp_path / "study").exists()


def test_only_new_networks_are_tried(tmp_path: Path) -> None:
    keys = KEYS | {"students": ["cnn2"], "teachers": [], "methods": ["cs_kd"], "out": str(tmp_path)}
    Study(*separate(keys), refuse_doomed)
    new: list[StudyTrial] = []
    Study(*separate(keys | {"students": ["cnn2", "cnn4"]}), lambda folder, trials, known, loaded: new.extend(trials))
    assert {trial.student for trial in new} == {"cnn4"}


def save(file: Path, count: int = 60) -> None:
    """Save pictures, of which `count` are for training."""
    images, labels = np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8), np.arange(60) % 10
    np.savez(file, x_train=images[:count], y_train=labels[:count], x_test=images, y_test=labels)


def test_the_data_are_loaded_once_for_the_plan_and_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "made.npz")
    read = Mock(side_effect=np.load)
    monkeypatch.setattr(np, "load", read)
    keys = KEYS | {"data": f"npz:{tmp_path}/made.npz", "students": ["cnn2"], "teachers": ["cnn4"], "methods": ["dkd"]}
    Study(*separate(keys | {"limit": None, "out": str(tmp_path / "study")}), refuse_doomed)
    assert read.call_count == 1


@pytest.mark.usefixtures("trials_in_this_process")
def test_data_that_have_changed_are_refused_before_anything_is_trained_on_them(tmp_path: Path) -> None:
    keys: dict[str, Any] = {
        "methods": ["cs_kd"],
        "data": f"npz:{tmp_path}/made.npz",
        "students": ["cnn2"],
        "teachers": [],
        "epochs": 1,
    }
    keys |= {"seeds": 1, "device": "cpu", "out": str(tmp_path / "study")}

    save(tmp_path / "made.npz")
    assert all(row.mean is not None for row in tutelage.compare(**keys).board.rows)
    save(tmp_path / "made.npz", 50)
    tutelage.compare(**keys)  # which trains nothing
    with pytest.raises(ConfigError, match=r"study was begun on other data: npz:.*made.npz has changed since"):
        tutelage.compare(**keys | {"seeds": 2})
    save(tmp_path / "made.npz")
    assert {row.method: len(row.values) for row in tutelage.compare(**keys | {"seeds": 2}).board.rows} == {
        "alone": 2, "cs_kd": 2,
    }  # fmt: skip
