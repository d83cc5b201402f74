"""Runs on recordings: a teacher of spectrograms and a student of waveforms, resumed, cached and loaded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import Crash, CrashAt
from sounds import folder_of_tones

import tutelage

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


def test_speakers_that_training_hasnt_heard_are_verified(data, tmp_path):
    task = {"task": {"name": "embedding", "dim": 4}, "target": "speaker", "split": ["s4", "s5"], "metric": "eer"}
    run = tutelage.train(
        "m5-4", data=data, out=str(tmp_path / "run"), **KEYS | task | {"reading": READING | {"seconds": 0.6}}
    )
    assert 0 <= run.result["student"]["eer"] <= 1
    assert run.result["higher_is_better"] is False
