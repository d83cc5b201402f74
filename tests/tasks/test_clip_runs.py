"""Runs on clips: a teacher of three dimensions and a student of frames, resumed, cached, loaded and reported."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from moving import CLASSES, folder_of_clips
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score
from small import Crash, CrashAt

import tutelage
from tutelage.errors import ConfigError, ModelError, TutelageError

KEYS = {"reading": {"frames": [6, 2]}, "batch_size": 8, "device": "cpu", "epochs": 2, "augment": "time-crop+shift"}
TEACHER, STUDENT = {"model": "r3d10-4", "inputs": "frames6"}, {"model": "frames:cnn4", "inputs": "frames2"}
METHOD = "kd+rkd"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return f"clips:{folder_of_clips(tmp_path_factory.mktemp('clips'), 10)}"


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return tutelage.distill(STUDENT, TEACHER, data, METHOD, out=str(out), teacher_epochs=12, views=1, **KEYS)


def test_a_student_of_few_frames_learns_from_a_teacher_of_all(run, data):
    assert run.result["teacher"]["accuracy"] > 0.4, "chance is 0.25"
    assert tutelage.evaluate(run.folder).values["accuracy"] == pytest.approx(run.result["student"]["accuracy"])
    predictions = np.load(run.folder / "student-0" / "predictions.npz")
    predicted = predictions["probabilities"].argmax(1)
    assert accuracy_score(predictions["targets"], predicted) == pytest.approx(run.result["student"]["accuracy"])
    values = tutelage.evaluate(run.folder).values
    assert f1_score(predictions["targets"], predicted, average="macro", labels=range(4)) == pytest.approx(
        values["macro_f1"]
    )
    network = tutelage.load(run.folder)
    assert network.card.inputs == ("frames2",)
    assert network.card.size == (2, 16, 16)
    x = network.card.read_clip(data.partition(":")[2] + f"/{CLASSES[0]}/clip0")
    assert x.shape == (3, 2, 16, 16)
    assert network(x[None]).shape == (1, 4)
    examples = np.load(run.folder / "examples.npz")
    assert examples["images"].shape[1:] == (16, 64, 3)
    assert "from left to right" in (run.folder / "report.html").read_text(encoding="utf-8")


def test_a_cached_teacher_is_the_live_one(run, data, tmp_path):
    keys = KEYS | {"teacher_epochs": 12, "views": 1, "cache": str(tmp_path / "cache"), "cache_storage": "exact"}
    cached = tutelage.distill(STUDENT, TEACHER, data, METHOD, baseline=False, out=str(tmp_path / "cached"), **keys)
    one, two = (load_file(x.folder / "student.safetensors") for x in (run, cached))
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)


def test_a_run_that_was_killed_resumes_to_the_same_student(data, tmp_path):
    teacher = {"model": "r3d10-4", "inputs": "frames6"}
    method = "kd+fitnet+at"
    student = {"model": "frames:resnet8", "inputs": "frames2"}
    keys = KEYS | {"baseline": False, "teacher_epochs": 1}
    with pytest.raises(Crash):
        tutelage.distill(student, teacher, data, method, out=str(tmp_path / "cut"), callbacks=[CrashAt(9)], **keys)
    whole = tutelage.distill(student, teacher, data, method, out=str(tmp_path / "whole"), **keys)
    resumed = tutelage.resume(tmp_path / "cut")
    one, two = (load_file(x.folder / "student.safetensors") for x in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_what_networks_of_clips_cant_do_is_refused(data, tmp_path):
    keys = KEYS | {"out": str(tmp_path / "run"), "reading": {"frames": 4}}
    with pytest.raises(ConfigError, match="resnet8 is a network for images, and the inputs are clips"):
        tutelage.train("resnet8", data=data, **keys)
    with pytest.raises((ConfigError, ModelError), match="fgfi"):
        tutelage.distill("frames:cnn4", "r3d10-4", data, "fgfi", teacher_epochs=1, **keys)
    timed = KEYS | {"reading": {"frames": 4, "order": "time"}, "out": str(tmp_path / "timed")}
    with pytest.raises(ConfigError, match="is read in the order of time: remove balance, or order"):
        tutelage.train("r3d10-4", data=data, balance=True, **timed)
    with pytest.raises(ConfigError, match=r"streams: .* is read in order"):
        tutelage.train("r3d10-4", data={"labelled": data, "unlabelled": data}, **timed)
    with pytest.raises(TutelageError, match="unknown input of"):
        tutelage.train({"model": "frames:cnn4", "inputs": "frames3"}, data=data, **KEYS | {"out": str(tmp_path / "a")})


@pytest.mark.parametrize("method", ["sftn", "lit"])
def test_parts_of_networks_dont_run_on_joined_frames(data, tmp_path, method):
    keys = {**KEYS, "reading": {"frames": 4}, "out": str(tmp_path / "run"), "epochs": 1, "teacher_epochs": 1}
    with pytest.raises(ModelError, match="FrameNetwork runs one on each frame, whose features are joined"):
        tutelage.distill("frames:resnet8", "frames:resnet8", data, method, **keys)


def test_critics_of_peers_judge_maps_of_clips(data, tmp_path):
    keys = {**KEYS, "reading": {"frames": 4}, "out": str(tmp_path / "run"), "epochs": 1}
    run = tutelage.distill("r3d10-4", method="afd_online", data=data, **keys)
    assert run.result["student"]["accuracy"] >= 0
