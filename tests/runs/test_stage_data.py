"""Stages on data, classes, sizes and tasks of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small import Crash, CrashAt

import tutelage
from tutelage.config.schema import check
from tutelage.errors import CheckpointError, ConfigError


@pytest.mark.parametrize("channels", [1, 3])
def test_a_stage_may_have_other_data_classes_and_sizes(tmp_path, channels):
    images = np.random.default_rng(0).integers(0, 256, (60, 12, 12, channels), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=np.arange(60) % 3)
    other = {"name": "first", "data": f"npz:{tmp_path}/a.npz", "teacher": "none", "method": None, "size": 10}
    keys = {"data": "digits", "teacher": "cnn4", "student": "cnn2", "epochs": 1, "teacher_epochs": 1, "limit": 64}
    stages = [other | {"limit": None, "augment": "none"}, {"name": "student", "student_weights": "stage:first"}]
    run = tutelage.distill(**keys, stages=stages, out=str(tmp_path / "run"))
    first = tutelage.load(run.folder / "first-0" / "model.safetensors")
    student = tutelage.load(run.folder)
    assert (len(first.card.classes), first.card.size) == (3, (10, 10))
    assert (len(student.card.classes), student.card.size) == (10, (8, 8))
    assert (student.card.mean == first.card.mean) == (channels == 1)  # its weights expect it


def test_a_classifier_begins_with_a_backbone_of_unlabelled_images(tmp_path):
    (tmp_path / "images").mkdir()
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)):
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    keys = {"data": "digits", "teacher": "cnn4", "student": "cnn2", "epochs": 1, "teacher_epochs": 1, "limit": 64}
    stages = [
        {"name": "backbone", "data": f"images:{tmp_path}/images", "teacher": "stage:teacher", "limit": None},
        {"name": "student", "student_weights": "stage:backbone"},
    ]
    run = tutelage.distill(**keys, stages=stages, out=str(tmp_path / "run"))
    assert "embedding_cosine" in (run.folder / "backbone-0" / "metrics.jsonl").read_text()
    assert "accuracy" in run.result["student"]


def test_a_stage_on_other_data_is_resumed_and_its_data_kept(tmp_path):
    y = np.arange(60) % 3
    np.savez(tmp_path / "a.npz", x_train=np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8), y_train=y)
    stage = {"name": "first", "data": f"npz:{tmp_path}/a.npz", "teacher": "none", "method": None, "limit": None}
    keys = {"data": "digits", "teacher": "cnn4", "student": "cnn2", "epochs": 2, "teacher_epochs": 1, "limit": 64}
    keys |= {"stages": [stage, {"name": "student", "student_weights": "stage:first"}], "batch_size": 16}
    whole = tutelage.distill(**keys, out=str(tmp_path / "whole"))
    with pytest.raises(Crash):
        tutelage.distill(**keys, out=str(tmp_path / "stopped"), callbacks=[CrashAt(14)], log_every=1)
    resumed = tutelage.resume(tmp_path / "stopped")
    one, two = (load_file(run.folder / "student.safetensors") for run in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    np.savez(tmp_path / "a.npz", x_train=np.zeros((60, 8, 8), np.uint8) + y[:, None, None].astype(np.uint8), y_train=y)
    with pytest.raises(CheckpointError, match="data of the stage first has changed"):
        tutelage.resume(resumed.folder, epochs=3)


@pytest.mark.parametrize("key", [{"data": "digits"}, {"size": 9}, {"task": "embedding"}, {"limit": 5}])
def test_the_students_own_stage_is_on_the_runs_data(key):
    with pytest.raises(ConfigError, match="is the run's, whose data the student is trained on"):
        check({"stages": [{"name": "student", **key}]})


def test_a_classifier_follows_vectors(tmp_path):
    pytest.importorskip("pytorch_metric_learning")
    keys = {"data": "digits", "teacher": "cnn4", "student": "cnn2", "epochs": 1, "teacher_epochs": 1, "limit": 64}
    first = {"name": "vectors", "task": {"name": "embedding", "dim": 12}, "teacher": "none", "method": None}
    stages = [first, {"name": "student", "student_weights": "stage:vectors"}]
    run = tutelage.distill(**keys, stages=stages, out=str(tmp_path / "run"))
    assert tutelage.load(run.folder / "vectors-0" / "model.safetensors").card.outputs == 12
    assert tutelage.load(run.folder).card.outputs == 10


def test_a_run_of_some_classes_is_evaluated_on_these(tmp_path):
    run = tutelage.train("cnn2", data="digits", classes=["3", "5", "8"], epochs=1, limit=64, out=str(tmp_path / "run"))
    assert tutelage.evaluate(run.folder).values["accuracy"] == run.result["student"]["accuracy"]


def write(path, classes=("0", "1", "2"), **arrays) -> str:
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    np.savez(
        path, **{"x_train": images, "y_train": np.arange(60) % len(classes), "classes": np.array(classes)} | arrays
    )
    return f"npz:{path}"


BASE = {"teacher": "cnn4", "student": "cnn2", "epochs": 1, "teacher_epochs": 1, "device": "cpu"}
ALONE = {"name": "a", "teacher": "none", "method": None}


@pytest.mark.parametrize(
    ("classes", "stages", "message"),
    [
        (("2", "1", "0"), [ALONE, {"name": "student", "teacher": "stage:a"}], r"outputs classes \(2, 1, 0\), and this"),
        (("x", "y", "z"), [ALONE, {"name": "student", "teacher": "stage:a"}], "use a stage of the same classes"),
        (("x", "y"), [ALONE, {"name": "student", "teacher": "stage:a"}], "KD compares class by class"),
        (
            ("0", "1", "2"),
            [ALONE | {"task": {"name": "embedding", "dim": 3}}, {"name": "student", "teacher": "stage:a"}],
            "outputs embedding",
        ),
        (("x", "y"), [ALONE, {"name": "student", "student_weights": "stage:a"}], None),
    ],
)
def test_a_stage_teaches_only_what_it_knows(tmp_path, classes, stages, message):
    pytest.importorskip("pytorch_metric_learning")
    stages = [stages[0] | {"data": write(tmp_path / "a.npz", classes)}, stages[1]]
    keys = BASE | {"data": write(tmp_path / "b.npz"), "stages": stages, "out": str(tmp_path / "run")}
    if message is None:
        assert tutelage.distill(**keys).result["student"]["accuracy"] >= 0
        return
    with pytest.raises(ConfigError, match=message):
        tutelage.distill(**keys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"teacher": "moving_average"}, "a teacher that comes trained"),
        ({"teacher": "none", "method": None}, "only a teacher can teach"),
        ({"teacher": "stage:teacher", "method": "kd"}, "KD compares classes, and this task's outputs are features"),
        ({"teacher": "stage:teacher", "streams": {"unlabelled": {"source": "digits"}}}, "has no labels"),
    ],
)
def test_a_stage_without_labels_requires_a_teacher(tmp_path, stage, message):
    (tmp_path / "images").mkdir()
    for number in range(12):
        Image.fromarray(np.full((8, 8), 20 * number, np.uint8)).save(tmp_path / "images" / f"{number}.png")
    stage = {"name": "a", "data": f"images:{tmp_path}/images"} | stage
    keys = BASE | {"data": write(tmp_path / "b.npz")}
    with pytest.raises(ConfigError, match=message):
        tutelage.distill(**keys, stages=[stage, {"name": "student", "student_weights": "stage:a"}])
