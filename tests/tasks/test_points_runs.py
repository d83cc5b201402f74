"""Runs on point clouds: teacher and student with points, grids or visible parts of them, resumed, cached and loaded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import Crash, CrashAt
from solids import cloud, folder_of_clouds

import tutelage
from tutelage.config.schema import check
from tutelage.errors import ConfigError, ModelError
from tutelage.runs.data import load_data

KEYS = {"batch_size": 12, "device": "cpu", "epochs": 2, "teacher_epochs": 12, "lr": 0.01, "views": 2}
KEYS |= {"augment": "rotate+jitter+scale+point-dropout", "reading": {"points": 32}}
ALL = {"reading": {"points": 32, "grid": 8, "visible": 8}}
METHOD = "kd+at+fitnet+sp"

INPUTS = {
    "points": ("dgcnn-4", "pointnet-4", METHOD, {}),
    "grids to points": (
        {"model": "voxnet-2", "inputs": "grid"},
        {"model": "pointnet-4", "inputs": "points"},
        "kd+rkd+pkt",
        ALL,
    ),
    "points to grids": (
        {"model": "dgcnn-4", "inputs": "points"},
        {"model": "conv3d-2-2", "inputs": "grid"},
        "kd+rkd+pkt",
        ALL,
    ),
    "whole to visible": (
        {"model": "dgcnn-4", "inputs": "points"},
        {"model": "pointnet-4", "inputs": "visible"},
        "kd+pkt",
        ALL,
    ),
}
"""Teacher, student, method and keys."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return f"points:{folder_of_clouds(tmp_path_factory.mktemp('solids'), 90)}"


def distilled(name, data, out, **keys):
    teacher, student, method, more = INPUTS[name]
    keys = {"teacher": teacher, "student": student, "method": method} | KEYS | more | {"out": str(out)} | keys
    return tutelage.distill(data=data, **keys)


@pytest.fixture(scope="module", params=INPUTS)
def run(request, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return request.param, distilled(request.param, data, out, cache_storage="exact")


def test_a_student_is_taught_evaluated_and_shown(run, data):
    name, run = run
    assert run.result["teacher"]["accuracy"] > 0.5
    assert tutelage.evaluate(run.folder).values["accuracy"] == run.result["student"]["accuracy"]
    network = tutelage.load(run.folder)
    path = next(iter(sorted(tutelage.data.listing.to_path(data.partition(":")[2]).rglob("*.npy"))))
    x = network.card.read_points(path)
    assert x.shape == ((1, 8, 8, 8) if name == "points to grids" else (3, 32))
    assert network(x[None]).shape == (1, 3)
    if (run.folder / "examples.npz").exists():
        examples = np.load(run.folder / "examples.npz")
        assert examples["images"].shape[-1] == 3
        assert "are seen from the side" in str(examples["note"])


def test_a_cached_teacher_is_the_live_one(run, data, tmp_path):
    name, run = run
    cache = {"cache": str(tmp_path / "cache"), "cache_storage": "exact", "baseline": False}
    cached = distilled(name, data, tmp_path / "cached", **cache)
    one, two = (load_file(x.folder / "student.safetensors") for x in (run, cached))
    assert all(torch.allclose(one[key], two[key], atol=1e-4) for key in one)


def test_a_run_that_was_killed_resumes_to_the_same_student(run, data, tmp_path):
    name, run = run
    with pytest.raises(Crash):
        distilled(name, data, tmp_path / "cut", cache_storage="exact", checkpoint_every=0, callbacks=[CrashAt(40)])
    resumed = tutelage.resume(tmp_path / "cut")
    one, two = (load_file(x.folder / "student.safetensors") for x in (run, resumed))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_the_teacher_and_the_student_see_the_same_turned_cloud(data):
    config = check({"data": data, "teacher": "none", "method": None, "student": "pointnet-4"} | KEYS | ALL)
    from tutelage.data.input_views import view_inputs, with_views

    whole = load_data(config)
    both = with_views(view_inputs(whole, "visible"), [view_inputs(whole, "points"), view_inputs(whole, "grid")])
    batch = next(both.batches("train", 6, seed=4))
    for name, augment in (("points", both.augment), ("grid", "subsample+rotate")):
        alone = view_inputs(whole, name)
        assert alone.augment == augment
        assert torch.equal(batch.views[name], next(alone.batches("train", 6, seed=4)).inputs)


def test_whole_clouds_teach_students_of_visible_parts_with_few_labels(data, tmp_path):
    unlabelled = tmp_path / "more"
    unlabelled.mkdir()
    for number in range(200, 240):
        np.save(unlabelled / f"{number}.npy", cloud(number))
    streams = {"labelled": data, "unlabelled": {"source": f"clouds:{unlabelled}", "share": 0.5}}
    method = ["kd", "pkt", {"name": "pseudo_label", "stream": "unlabelled", "threshold": 0.4}]
    keys = {"labels_per_class": 4, "method": method, "baseline": False, "log_every": 1}
    live = distilled("whole to visible", streams, tmp_path / "live", cache_storage="exact", **keys)
    assert [stream["count"] for stream in live.result["data"]["streams"]] == [12, 40]
    cache = {"cache": str(tmp_path / "cache"), "cache_storage": "exact"}
    cached = distilled("whole to visible", streams, tmp_path / "cached", **keys, **cache)
    with pytest.raises(Crash):
        distilled("whole to visible", streams, tmp_path / "cut", cache_storage="exact", **keys, callbacks=[CrashAt(25)])
    resumed = tutelage.resume(tmp_path / "cut")
    one, two, three = (load_file(x.folder / "student.safetensors") for x in (live, resumed, cached))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert all(torch.allclose(one[key], three[key], atol=1e-4) for key in one)


def test_streams_of_other_inputs_are_refused(data, tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.ones((9, 40, 3)), y_train=np.arange(9) % 3)
    path = tmp_path / "b.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x_train=rng.normal(size=(60, 3, 32)), y_train=np.arange(60) % 3, modality="points")
    keys = {"teacher": "none", "method": None, "student": "pointnet-4"} | KEYS | {"augment": "none"}
    streams = {"data": {"labelled": f"npz:{path}", "unlabelled": {"source": data}}, "reading": {}}
    with pytest.raises(ConfigError, match=r"has the inputs .*1024.*, and npz:.*32"):
        load_data(check(keys | streams))


def test_only_networks_of_clouds_read_them(tmp_path):
    run = tutelage.train("cnn2", limit=60, epochs=1, device="cpu", out=str(tmp_path / "run"))
    with pytest.raises(ModelError, match="was trained on digits: expected data=points:PATH"):
        tutelage.load(run.folder).card.read_points("a.npy")
