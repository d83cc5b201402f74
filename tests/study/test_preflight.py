"""Faults that all trainings of a study would have are told before the first, and no folder is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tutelage
from tutelage.errors import TutelageError
from tutelage.study.preflight import try_networks
from tutelage.study.settings import separate
from tutelage.study.study import Study
from tutelage.study.trial import StudyTrial

KEYS: dict[str, Any] = {"data": "digits", "limit": 64, "epochs": 1, "teacher_epochs": 1, "seeds": 1, "device": "cpu"}


@pytest.mark.parametrize(
    ("keys", "messages"),
    [
        ({"students": ["nonet", "cnn2", "cn4"], "teachers": ["cnn4"]}, ["nonet: unknown model", "cn4: unknown model"]),
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
    Study(*separate(keys), try_networks)
    new: list[StudyTrial] = []
    Study(*separate(keys | {"students": ["cnn2", "cnn4"]}), lambda trials, loaded: new.extend(trials))
    assert {trial.student for trial in new} == {"cnn4"}


def test_the_data_are_loaded_once_for_the_plan_and_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, reads = tmp_path / "made.npz", list[object]()
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (60, 8, 8), dtype=np.uint8)
    arrays = {"x_train": images, "y_train": np.arange(60) % 10, "x_test": images, "y_test": np.arange(60) % 10}
    np.savez(file, **arrays)
    load = np.load
    monkeypatch.setattr(np, "load", lambda *args, **options: reads.append(args) or load(*args, **options))
    keys = KEYS | {"data": f"npz:{file}", "students": ["cnn2"], "teachers": ["cnn4"], "methods": ["dkd"]}
    Study(*separate({key: x for key, x in keys.items() if key != "limit"} | {"out": str(tmp_path / "s")}), try_networks)
    assert len(reads) == 1
