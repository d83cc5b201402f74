"""Series, voxels, rows of tables and images of many channels go through whole runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import Crash, CrashAt

import tutelage
from tutelage import data as datasets
from tutelage.errors import DataError, TutelageError
from tutelage.nn.memory_format import use_memory_format

INPUTS: dict[str, dict[str, Any]] = {
    "series": {"shape": (3, 40), "student": "conv1d-3-3", "teacher": "conv1d-3-8", "modality": "series"},
    "volume": {"shape": (2, 8, 9, 8), "student": "conv3d-2-2", "teacher": "conv3d-3-4"},
    "rows": {"shape": (7,), "student": "mlp-6", "teacher": "mlp-16-16-plain"},
    "thirteen bands": {"shape": (13, 16, 16), "student": "cnn2", "teacher": "cnn4", "modality": "image"},
    "four bands": {"shape": (4, 16, 15), "student": "cnn2", "teacher": "cnn8", "modality": "image"},
}
METHODS = {name: "kd+cc" if name == "rows" else "kd+at+fitnet+vid+rkd" for name in INPUTS}
KEYS: dict[str, Any] = {"epochs": 2, "teacher_epochs": 4, "batch_size": 16, "device": "cpu", "lr": 0.05}


def write(path: Path, shape: tuple[int, ...], modality: str = "", samples: int = 96, **arrays: Any) -> str:
    """Three classes, each with its own pattern in noise; images are within [0, 1]."""
    rng = np.random.default_rng(0)
    y = np.arange(samples) % 3
    patterns = rng.uniform(size=(3, *shape))
    x = (0.5 + (patterns[y] - 0.5) * 0.6 + rng.normal(size=(samples, *shape)) * 0.05).clip(0, 1).astype(np.float32)
    half = samples * 2 // 3
    arrays = {"x_train": x[:half], "y_train": y[:half], "x_test": x[half:], "y_test": y[half:]} | arrays
    np.savez(path, **arrays, **({"modality": modality} if modality else {}))
    return f"npz:{path}"


def keys_of(name: str, folder: Path) -> dict[str, Any]:
    inputs = INPUTS[name]
    data = write(folder / "data.npz", inputs["shape"], inputs.get("modality", ""))
    names = {"data": data, "teacher": inputs["teacher"], "student": inputs["student"]}
    return {**names, "method": METHODS[name], **KEYS, "augment": "none"}


@pytest.fixture(scope="module", params=INPUTS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, tutelage.FinishedRun]:
    folder = tmp_path_factory.mktemp("inputs")
    return request.param, tutelage.distill(**keys_of(request.param, folder), out=str(folder / "run"))


def test_teacher_student_alone_and_taught_are_measured(run: tuple[str, tutelage.FinishedRun]) -> None:
    name, finished = run
    assert all(0 <= finished.result[role]["accuracy"] <= 1 for role in ("teacher", "baseline", "student"))
    page = finished.report.read_text("utf-8")
    assert INPUTS[name]["student"] in page
    assert "left out" not in page


def test_the_saved_student_is_the_evaluated_one(run: tuple[str, tutelage.FinishedRun]) -> None:
    name, finished = run
    model = tutelage.load(finished.folder)
    assert model(torch.zeros(2, *INPUTS[name]["shape"])).shape == (2, 3)
    values = tutelage.evaluate(finished.folder).values
    assert values["accuracy"] == pytest.approx(finished.result["student"]["accuracy"])


def test_the_program_in_the_report_runs(run: tuple[str, tutelage.FinishedRun]) -> None:
    from tutelage.report.run_record import read
    from tutelage.report.usage import usage_code

    exec(usage_code(read(run[1].folder)), {})


@pytest.mark.parametrize("name", INPUTS)
def test_a_cached_teacher_teaches_the_same(name: str, tmp_path: Path) -> None:
    keys = keys_of(name, tmp_path) | {"baseline": False}
    teacher = tutelage.train(
        keys["teacher"], keys["data"], epochs=4, batch_size=16, device="cpu", augment="none", out=str(tmp_path / "t")
    )
    keys |= {"teacher": str(teacher.folder), "teacher_epochs": None}
    runs = [
        tutelage.distill(
            **{key: value for key, value in keys.items() if value is not None},
            cache=cache,
            cache_storage="exact",
            out=str(tmp_path / str(cache)),
        )
        for cache in (False, str(tmp_path / "cache"))
    ]
    live, cached = (load_file(x.folder / "student.safetensors") for x in runs)
    assert all(torch.allclose(live[key], cached[key], atol=1e-5) for key in live)


def test_a_crash_costs_no_bit(run: tuple[str, tutelage.FinishedRun], tmp_path: Path) -> None:
    name, finished = run
    keys = keys_of(name, tmp_path) | {"data": finished.result["data"]["name"], "out": str(tmp_path / "run")}
    with pytest.raises(Crash):
        tutelage.distill(**keys, callbacks=[CrashAt(20)], checkpoint_every=0)
    resumed = tutelage.resume(tmp_path / "run")
    kept, again = (load_file(x.folder / "student.safetensors") for x in (finished, resumed))
    assert all(torch.equal(kept[key], again[key]) for key in kept)


@pytest.mark.parametrize(
    ("shape", "modality", "words"),
    [
        ((3, 8), "wave", "unknown modality 'wave': Known: clip, graph, image"),
        ((3, 8, 8), "series", r"shape \(64, 3, 8, 8\): expected \(N, C, T\) for series data"),
        ((7, 7, 7), "", r'for other channels \(N, C, H, W\) and an array modality="image"'),
    ],
)
def test_arrays_of_another_form_are_refused(shape: tuple[int, ...], modality: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match=words):
        datasets.load(write(tmp_path / "a.npz", shape, modality))


def test_a_series_may_lack_its_channel_and_has_no_size(tmp_path: Path) -> None:
    name = write(tmp_path / "a.npz", (40,), "series")
    data = datasets.load(name)
    assert (data.modality, data.channels, data.size) == ("series", 1, (40,))
    with pytest.raises(DataError, match="only images are resized, and this is series data"):
        datasets.load(name, size=20)


def test_numbers_of_any_range_and_bits_are_inputs(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(64, 2, 6, 6, 6)) * 1000
    wide = datasets.load(write(tmp_path / "a.npz", (2, 6, 6, 6), x_train=x, x_test=x[:32]))
    batch = next(wide.batches("train", 64))
    assert batch.inputs.std().item() == pytest.approx(1, abs=0.1)
    bits = datasets.load(write(tmp_path / "b.npz", (2, 6, 6, 6), x_train=x > 0, x_test=x[:32] > 0))
    assert bits.train.inputs.dtype == torch.uint8
    assert next(bits.batches("train", 64)).inputs.std().item() == pytest.approx(1, abs=0.1)


def test_weights_of_voxels_keep_their_memory_format() -> None:
    module = torch.nn.Sequential(torch.nn.Conv3d(2, 3, 3), torch.nn.Conv2d(2, 3, 3), torch.nn.Linear(3, 2))
    use_memory_format(module, torch.channels_last)
    assert module[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert module[0].weight.is_contiguous()
