"""The studies of inputs of their own, of generated clicks, and the tiny runs of each task."""

from __future__ import annotations

import importlib
import sys
import wave
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from tutelage import data as datasets
from tutelage.config.schema import check
from tutelage.errors import DataError

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that imports a benchmark by name."""
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    return importlib.import_module


def write_recordings(folder: Path, names: Any) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, name in enumerate(names):
        for digit in range(10):
            for take in range(2):
                with wave.open(str(folder / f"{digit}_{name}_{take}.wav"), "wb") as file:
                    file.setparams((1, 2, 8000, 0, "NONE", "NONE"))
                    file.writeframes(rng.integers(-9999, 9999, 3000 + 500 * number, np.int16).tobytes())
    return folder


@pytest.fixture
def recordings(script: Any, tmp_path: Path) -> tuple[ModuleType, Path]:
    inputs = script("inputs")
    names = [name for split in inputs.SPEAKERS.values() for name in split]
    return inputs, inputs.prepare(write_recordings(tmp_path / "fsdd", names), tmp_path / "out" / "fsdd.npz")


def test_recordings_become_two_inputs_whose_speakers_are_in_one_split(recordings: tuple[ModuleType, Path]) -> None:
    _, path = recordings
    data = datasets.load(f"npz:{path}")
    assert {name: (field.modality, field.channels, field.size) for name, field in data.fields.items()} == {
        "waveform": ("series", 1, (2048,)),
        "spectrogram": ("series", 32, (33,)),
    }
    assert (len(data.train), len(data.val), len(data.test)) == (60, 20, 40)
    groups = [set(split.groups.tolist()) for split in (data.train, data.val, data.test) if split.groups is not None]
    assert groups == [{0, 1, 2}, {3}, {4, 5}]


def test_a_speaker_in_two_splits_is_refused(recordings: tuple[ModuleType, Path], tmp_path: Path) -> None:
    arrays = dict(np.load(recordings[1]))
    arrays["groups_test"][0] = arrays["groups_train"][0]
    np.savez(tmp_path / "shared.npz", **arrays)
    with pytest.raises(DataError, match=r"1 group\(s\) have samples in both test and train"):
        datasets.load(f"npz:{tmp_path / 'shared.npz'}")


def test_the_bands_of_a_tone_have_its_frequency(script: Any) -> None:
    seconds = torch.arange(4096) / 8000
    low, high = script("inputs").spectrogram(torch.sin(2 * torch.pi * torch.tensor([[300.0], [3000.0]]) * seconds))
    assert low.shape == (32, 33)
    assert int(low.mean(1).argmax()) < 8
    assert int(high.mean(1).argmax()) > 24


def test_each_side_of_a_study_gets_its_input(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, calls = script("inputs"), []
    monkeypatch.setattr(inputs, "run", lambda folder, model, method, keys: calls.append((model, method, keys)) or {})
    sides = {"inputs": "spectrogram"}, {"inputs": "waveform"}
    inputs.train(inputs.Study("x", "npz:x", "cnn4", "conv1d-2-4", *sides, ("kd",), 2, 1), tmp_path, 1)
    teacher, alone, taught = calls
    assert teacher[:2] == ("cnn4", None)
    assert teacher[2]["student_inputs"] == "spectrogram"
    assert alone[:2] == ("conv1d-2-4", None)
    assert alone[2]["student_inputs"] == "waveform"
    assert "teacher" not in alone[2]
    assert taught[1] == "kd"
    expected = {"teacher": str(tmp_path / "teacher"), "teacher_inputs": "spectrogram", "student_inputs": "waveform"}
    assert {key: taught[2][key] for key in expected} == expected


def test_nobody_clicks_twice_on_an_item(script: Any) -> None:
    clicks = script("clicks").clicks
    rows = clicks(users=7, items=12, length=9, seed=0)
    assert Counter(user for user, _, _ in rows) == dict.fromkeys(range(7), 9)
    assert len({(user, item) for user, item, _ in rows}) == len(rows)
    assert rows == clicks(users=7, items=12, length=9, seed=0)
    assert rows != clicks(users=7, items=12, length=9, seed=1)


def test_the_tiny_runs_have_a_configuration_and_data(script: Any, tmp_path: Path) -> None:
    for name, make in script("tiny_tasks").TASKS.items():
        keys = make(tmp_path / name)
        config = check({**keys, "out": str(tmp_path / "run")})
        assert config.teacher == keys["teacher"]


@pytest.mark.parametrize("task", ["regression", "ranking"])
def test_a_cached_teacher_teaches_what_the_live_one_does(task: str, script: Any, tmp_path: Path) -> None:
    largest, _ = script("cache_tasks").difference(task, tmp_path)
    assert largest <= 1e-6


def test_a_row_of_ranking_has_recall_and_the_gain_over_the_student_alone(script: Any) -> None:
    row = script("ranking").row
    assert row("alone", [0.5, 0.6], None, [0.7, 0.7]).startswith("| alone | 55.00 ± ")
    cells = row("rrd", [0.6, 0.701], [0.5, 0.6], [0.7, 0.7]).split(" | ")
    assert cells[2] == "70.00 ± 0.00"
    assert cells[3:] == ["+10.05 ± 0.64", "beats |"]


def test_a_row_without_labels_has_both_accuracies_by_seed(script: Any) -> None:
    label_free = script("label_free")
    lines = label_free.table([label_free.Row("x", [(0.5, 0.6), (0.5, 0.8)], 0.25)]).splitlines()
    assert lines[-1].startswith("| x | 50.00 ± 0.00 | 70.00 ± ")
    assert lines[-1].endswith("| 250 |")


def test_pairs_of_edges_and_coloured_garments(script: Any) -> None:
    image = np.zeros((28, 28), np.uint8)
    image[7:21, 7:21] = 255
    edges, colours = script("gan").edges_and_colours(image, 0)
    assert edges.shape == (16, 16)
    assert colours.shape == (16, 16, 3)
    assert 0 < (edges > 0).sum() < (colours[..., 0] > 0).sum()
    assert colours[8, 8].tolist() == [255, 76, 76]  # the first class is red
    assert script("gan").edges_and_colours(image, 5)[1][8, 8].tolist() == [76, 255, 255]
    assert {*np.unique(edges).tolist()} == {0, 255}
