"""The study of point clouds: its data, and what each network gets."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tutelage import data as datasets

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("points")


@pytest.fixture
def files(study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setattr(study, "TRAIN", 12)
    monkeypatch.setattr(study, "FEW", 4)
    rng = np.random.default_rng(0)
    x, y = rng.random((60, 8, 8, 8)) < 0.2, np.arange(60) % 3
    np.savez(tmp_path / "a.npz", x_train=x[:45], y_train=y[:45], x_test=x[45:], y_test=y[45:], classes=list("abc"))
    files: dict[str, Path] = study.prepare(tmp_path / "a.npz", tmp_path / "out")
    return files


def test_few_labelled_clouds_and_the_others_are_all(files: dict[str, Path]) -> None:
    whole, few, more = (
        datasets.load(f"{kind}:{files[name]}")
        for kind, name in (("points", "all"), ("points", "few"), ("clouds", "more"))
    )
    counts = [len(x.train) + len(x.val) + (len(x.test) if x is more else 0) for x in (whole, few, more)]
    assert counts == [36, 12, 24]
    assert len(whole.test) == len(few.test) == 15
    arrays = {name: np.load(path)["x_train"] for name, path in files.items()}
    both = np.concatenate([arrays["few"], arrays["more"]])
    assert sorted(x.tobytes() for x in both) == sorted(x.tobytes() for x in arrays["all"])


def test_the_teacher_sees_the_whole_and_the_student_its_visible_part(
    study: ModuleType, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(study, "run", lambda folder, model, method, keys: calls.append((model, method, keys)) or {})
    study.train(study.studies(files)[2], tmp_path / "runs" / "2", 1)
    (teacher, alone, taught, *_, pseudo) = calls
    assert (teacher[:2], teacher[2]["student_inputs"], teacher[2]["epochs"]) == (("voxnet-8", None), "grid", 50)
    assert (alone[1], alone[2]["student_inputs"]) == (None, "visible")
    assert "teacher" not in alone[2]
    assert (taught[1], taught[2]["teacher_inputs"], taught[2]["epochs"]) == ("kd", "grid", alone[2]["epochs"])
    assert "pseudo_label" in pseudo[1]
    assert pseudo[2]["data"]["unlabelled"] == f"clouds:{files['more']}"
