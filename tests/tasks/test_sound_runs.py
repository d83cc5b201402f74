"""Runs on recordings: a teacher of spectrograms and a student of waveforms, resumed, cached and loaded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import Crash, CrashAt
from sounds import folder_of_tones, tone, write

import tutelage
from tutelage.config.schema import check
from tutelage.errors import ConfigError, DataError
from tutelage.runs.data import load_data

READING = {"rate": 2000, "seconds": 0.4, "pattern": "{label}_{speaker}_{take}"}
KEYS = {"reading": READING, "batch_size": 12, "device": "cpu", "epochs": 2, "augment": "time-crop+gain+band-mask"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return f"sound:{folder_of_tones(tmp_path_factory.mktemp('tones'))}"


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    keys = KEYS | {"group": "speaker", "teacher_epochs": 4, "views": 1}
    return tutelage.distill("conv1d-2-4", "mel:2000:8:cnn8", data, "kd+pkt", out=str(out), **keys)


def test_a_student_of_waveforms_learns_from_a_teacher_of_spectrograms(run, data):
    assert run.result["teacher"]["accuracy"] > 0.5
    values = tutelage.evaluate(run.folder).values
    assert values["accuracy"] == pytest.approx(run.result["student"]["accuracy"])
    network = tutelage.load(run.folder)
    first = sorted((tutelage.data.listing.to_path(data.partition(":")[2])).glob("*.wav"))[0]
    x = network.card.read_sound(first)
    assert x.shape == (1, 800)
    assert network(x[None]).shape == (1, 4)
    examples = np.load(run.folder / "examples.npz")
    assert examples["images"].shape[-1] == 3
    assert "frequency upwards" in str(examples["note"])
    assert "frequency upwards" in (run.folder / "report.html").read_text(encoding="utf-8")


def test_a_cached_teacher_is_the_live_one(run, data, tmp_path):
    keys = KEYS | {"group": "speaker", "teacher_epochs": 4, "views": 1, "cache": str(tmp_path / "cache")}
    keys |= {"cache_storage": "exact", "baseline": False, "out": str(tmp_path / "cached")}
    cached = tutelage.distill("conv1d-2-4", "mel:2000:8:cnn8", data, "kd+pkt", **keys)
    one, two = (load_file(x.folder / "student.safetensors") for x in (run, cached))
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)


def test_a_run_that_was_killed_resumes_to_the_same_student(data, tmp_path):
    with pytest.raises(Crash):
        tutelage.train("conv1d-2-4", data=data, out=str(tmp_path / "cut"), callbacks=[CrashAt(5)], **KEYS)
    whole = tutelage.train("conv1d-2-4", data=data, out=str(tmp_path / "whole"), **KEYS)
    resumed = tutelage.resume(tmp_path / "cut")
    one, two = (load_file(x.folder / "student.safetensors") for x in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(("student", "teacher"), [("mel:4000:8:cnn2", "m5-4"), ("m5-4", "spectrogram:1000:cnn2")])
def test_a_network_for_another_rate_is_refused(data, tmp_path, student, teacher):
    with pytest.raises(ConfigError, match=r"spectrogram is for \d,000 samples a second, and .* has 2,000"):
        tutelage.distill(student, teacher, data, **KEYS | {"reading": READING | {"seconds": 0.6}}, out=str(tmp_path))


def test_a_run_isnt_evaluated_on_recordings_of_another_rate(run, data):
    other = READING | {"rate": 1000, "resample": True}
    network = tutelage.load(next(run.folder.glob("teacher*/*.safetensors")))
    with pytest.raises(ConfigError, match=r"is for 2,000 samples a second, and .* has 1,000"):
        tutelage.evaluate(network, data=data, reading=other)


def test_unlabelled_recordings_are_read_as_the_labelled_ones(data, tmp_path):
    for number in range(20):
        write(tmp_path / f"{'ab'[number % 2]}/{number}.wav", tone(100 + number, 0.7))
    keys = KEYS | {"streams": {"unlabelled": {"source": f"sound:{tmp_path}"}}, "augment": "gain"}
    reading = {"reading": {"rate": 2000, "seconds": 0.4, "pattern": READING["pattern"]}}
    with pytest.raises(DataError, match="its name doesn't fit pattern"):
        load_data(check({"student": "conv1d-2-4", "teacher": "m5-4", "data": data, **keys | reading}))
    folder = tmp_path.with_name("labelled")
    for number in range(40):
        write(folder / f"{number % 2}/{number}.wav", tone(number, 0.3))
    plain = keys | {"student": "conv1d-2-4", "teacher": "m5-4", "data": f"sound:{folder}"}
    joined = load_data(check(plain | {"reading": {"rate": 2000, "seconds": 0.4}})).train
    assert {part.form.length for part in joined.parts} == {800}
    with pytest.raises(ConfigError, match=r"has the inputs .*\(1400,\).* and .*\(600,\).*: expected the same"):
        load_data(check(plain | {"reading": {"rate": 2000}}))


def test_speakers_that_training_hasnt_heard_are_verified(data, tmp_path):
    task = {"task": {"name": "embedding", "dim": 4}, "target": "speaker", "split": ["s4", "s5"], "metric": "eer"}
    run = tutelage.train(
        "m5-4", data=data, out=str(tmp_path / "run"), **KEYS | task | {"reading": READING | {"seconds": 0.6}}
    )
    assert 0 <= run.result["student"]["eer"] <= 1
    assert run.result["higher_is_better"] is False
