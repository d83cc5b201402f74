"""A teacher that came trained is measured once by the runs that share a cache."""

import json

import pytest

import tutelage
from tutelage.runs import measured_teacher


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "run"
    tutelage.train("cnn4", data="digits", limit=128, epochs=1, out=str(folder), progress=False)
    return str(folder)


def distilled(teacher, tmp_path, name, **keys):
    return tutelage.distill(
        teacher=teacher, student="cnn2", data="digits", limit=128, epochs=1, baseline=False, progress=False,
        cache=str(tmp_path / "cache"), out=str(tmp_path / name), **keys,
    ).folder / "teacher"  # fmt: skip


def files(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_the_second_run_copies_the_figures(teacher, tmp_path, monkeypatch):
    first = files(distilled(teacher, tmp_path, "first"))
    monkeypatch.setattr(measured_teacher, "write_phase_folder", lambda *args: pytest.fail("measured again"))
    assert files(distilled(teacher, tmp_path, "second", method="at")) == first
    assert {"phase.json", "predictions.npz", "SHA256SUMS"} <= first.keys()
    assert json.loads(first["phase.json"])["figures"]["accuracy"] > 0.1


def test_other_samples_and_torn_figures_are_measured_again(teacher, tmp_path):
    distilled(teacher, tmp_path, "first")
    folder = tmp_path / "cache" / measured_teacher.FIGURES
    (kept,) = folder.iterdir()
    (kept / "phase.json").write_text("{}")
    again = distilled(teacher, tmp_path, "second")
    assert json.loads((again / "phase.json").read_text())["figures"]["accuracy"] > 0.1
    assert json.loads((kept / "phase.json").read_text()) == json.loads((again / "phase.json").read_text())
    distilled(teacher, tmp_path, "third", judged_on="val")
    assert len([*folder.iterdir()]) == 2


def test_without_a_named_cache_each_run_measures(teacher, tmp_path):
    folder = tutelage.distill(
        teacher=teacher, student="cnn2", data="digits", limit=128, epochs=1, baseline=False, progress=False,
        out=str(tmp_path / "run"),
    ).folder  # fmt: skip
    assert (folder / "teacher" / "phase.json").is_file()
    assert not [*tmp_path.glob("**/" + measured_teacher.FIGURES)]
