"""Teacher and student with inputs of their own: other fields, other columns, another size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import Crash, CrashAt

import tutelage
from tutelage import data as datasets
from tutelage.config.schema import check
from tutelage.data.input_views import view_inputs, with_views
from tutelage.errors import ConfigError, DataError
from tutelage.runs.data import load_data
from tutelage.runs.run import Run

TINY = {"epochs": 2, "teacher_epochs": 2, "batch_size": 16, "device": "cpu", "lr": 0.05, "log_every": 1}


def write(path: Path, **changes) -> str:
    """Write samples with a table row that tells the class, and an image that hardly does."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    arrays = {
        "inputs": np.array(["image", "row"]),
        "image_train": rng.integers(0, 256, (120, 8, 8, 3), dtype=np.uint8),
        "row_train": rng.normal(size=(120, 4)) + 3 * np.eye(4)[y],
        "y_train": y,
    }
    np.savez(path, **{key: x for key, x in (arrays | changes).items() if x is not None})
    return f"npz:{path}"


def table(path: Path) -> str:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3))
    rows = (",".join(map(str, (*row, row @ [1, 2, 3]))) for row in x)
    path.write_text("a,b,secret,y\n" + "\n".join(rows) + "\n")
    return f"csv:{path}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    keys = {"teacher": {"model": "mlp-16", "inputs": "row"}, "student": {"model": "cnn2", "inputs": "image"}}
    return tutelage.distill(data=write(folder / "a.npz"), **keys, **TINY, out=str(folder / "run"))


def test_each_gets_its_own_field(run):
    teacher, student = (tutelage.load(path) for path in (run.folder / "teacher" / "model.safetensors", run.folder))
    assert (teacher.card.modality, teacher.card.channels, teacher.card.inputs) == ("table", 4, ("row",))
    assert (student.card.modality, student.card.channels, student.card.inputs) == ("image", 3, ("image",))
    assert run.result["teacher"]["accuracy"] > run.result["student"]["accuracy"]
    assert tutelage.evaluate(run.folder).values["accuracy"] == run.result["student"]["accuracy"]


def test_batches_have_the_other_views_of_the_same_samples(tmp_path):
    data = datasets.load(write(tmp_path / "a.npz"), augment="none")
    assert next(data.batches("train", 4)).inputs.shape == (4, 3, 8, 8)
    both = with_views(view_inputs(data, "image"), [view_inputs(data, "row"), view_inputs(data, "image")])
    batch, rows = (next(x.batches("train", 5, seed=2)) for x in (both, view_inputs(data, "row")))
    assert batch.index.equal(rows.index)
    assert [*batch.views] == ["row"]
    assert batch.views["row"].equal(rows.inputs)
    assert batch.part(1, 3).views["row"].equal(rows.inputs[1:3])
    assert both.example(2).views["row"].shape == (2, 4)


@pytest.mark.parametrize("at", [2, 9, 20])
def test_a_crash_costs_no_bit(run, at, tmp_path):
    keys = {"teacher": {"model": "mlp-16", "inputs": "row"}, "student": {"model": "cnn2", "inputs": "image"}}
    config = {"data": run.result["data"]["name"], **keys, **TINY, "out": str(tmp_path / "run"), "checkpoint_every": 0}
    with pytest.raises(Crash):
        tutelage.distill(**config, callbacks=[CrashAt(at)])
    resumed = tutelage.resume(tmp_path / "run")
    assert (resumed.folder / "student.safetensors").read_bytes() == (run.folder / "student.safetensors").read_bytes()


def test_the_cached_teacher_is_the_live_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "a.npz")
    tutelage.train("mlp-16", data=path, student_inputs="row", epochs=2, device="cpu", out=str(tmp_path / "teacher"))
    keys = {"teacher": {"model": str(tmp_path / "teacher"), "inputs": "row"}, "student": "cnn2", "baseline": False}
    keys |= {"data": path, "epochs": 2, "batch_size": 21, "views": 2, "device": "cpu", "cache_storage": "exact"}
    runs = [tutelage.distill(**keys, cache=cache, out=str(tmp_path / str(cache))) for cache in (False, True)]
    live, cached = (load_file(run.folder / "student.safetensors") for run in runs)
    assert all(torch.allclose(live[name], cached[name], atol=1e-5) for name in live)


def test_a_privileged_column_is_the_teachers_alone(tmp_path):
    keys = {"data": table(tmp_path / "t.csv"), "target": "y", "method": "logit_mse", **TINY, "epochs": 20}
    keys |= {"teacher": "mlp-32", "teacher_epochs": 20, "student": {"model": "mlp-16", "inputs": ["a", "b"]}}
    run = tutelage.distill(**keys, out=str(tmp_path / "run"))
    assert tutelage.load(run.folder).card.channels == 2
    assert tutelage.load(run.folder / "teacher" / "model.safetensors").card.channels == 3
    assert run.result["teacher"]["rmse"] < 0.7 * run.result["student"]["rmse"]


def test_a_student_at_half_the_size_learns_from_the_whole_image(tmp_path):
    keys = {"data": "digits", "limit": 80, "size": 16, "teacher": "cnn4", "student": {"model": "cnn2", "size": 8}}
    run = tutelage.distill(**keys, **TINY, method="kd+at", out=str(tmp_path / "run"))
    assert tutelage.load(run.folder).card.size == (8, 8)
    assert tutelage.load(run.folder / "teacher" / "model.safetensors").card.size == (16, 16)
    dry = Run(check({**keys, "teacher_epochs": 0, "out": str(tmp_path / "dry")}))
    scheme, context = dry.scheme(dry.phases()[-1])
    batch = next(context.data.batches("train", 3, seed=1))
    whole = next(dry.inputs.data.batches("train", 3, seed=1))
    assert batch.inputs.shape == (3, 1, 8, 8)
    assert scheme.teacher.adapt_inputs(batch).inputs.equal(whole.inputs)


def test_several_teachers_see_what_each_knows(tmp_path):
    teachers = [{"model": "mlp-16", "inputs": "row"}, {"model": "cnn2", "inputs": "image"}]
    keys = {"data": write(tmp_path / "a.npz"), "teacher": teachers, "student": "cnn2", **TINY, "baseline": False}
    run = tutelage.distill(**keys, out=str(tmp_path / "run"))
    before = run.result["before"]
    assert before["teacher0"]["accuracy"] > before["teacher1"]["accuracy"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"student_inputs": "sound"}, "unknown input of npz:.*'sound'"),
        ({"teacher_inputs": ["row", "image"]}, "unknown input of"),
        ({"student_inputs": "row", "student_size": 8}, "only images and clips can be resized"),
        (
            {"student_inputs": "row", "student": "cnn2"},
            "cnn2 is a network for images, and the inputs are rows of a table",
        ),
    ],
)
def test_inputs_that_arent_there_are_refused(tmp_path, keys, message):
    config = {"data": write(tmp_path / "a.npz"), "teacher": "cnn4", "student": "cnn2", **TINY}
    with pytest.raises((ConfigError, tutelage.TutelageError), match=message):
        tutelage.distill(**config | keys, out=str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("keys", "noted"),
    [
        ({"teacher_inputs": "row", "augment": "crop-flip"}, ["augment=crop-flip has no effect: the models get row of"]),
        ({"teacher_inputs": "image", "augment": "crop-flip"}, []),
        ({"teacher_inputs": "row"}, []),
    ],
)
def test_an_augmentation_that_no_model_gets_is_noted(tmp_path, keys, noted):
    config = check(
        {"data": write(tmp_path / "a.npz"), "teacher": "mlp-4", "student": "mlp-2", "student_inputs": "row"} | keys
    )
    found = [note for note in load_data(config).notes if "has no effect" in note]
    assert len(found) == len(noted)
    assert all(note.startswith(start) for note, start in zip(found, noted, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row_train": None}, "no array 'row_train'"),
        ({"row_train": np.zeros((119, 4))}, "expected all inputs of each sample"),
        ({"image_test": np.zeros((9, 8, 8, 3), np.uint8), "y_test": np.zeros(9, int)}, "there is no row_test"),
        ({"row_train": np.full((120, 4), np.nan)}, "row_train, row 0, has NaN"),
    ],
)
def test_fields_that_disagree_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        datasets.load(write(tmp_path / "a.npz", **changes))


def test_digits_have_no_names_to_choose():
    with pytest.raises(ConfigError, match="its inputs have no names"):
        view_inputs(datasets.load("digits"), "row")
