"""Teachers with different classes and image formats: complete runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small import net

import tutelage
from tutelage import data as datasets
from tutelage.config.schema import check
from tutelage.data.data_module import DataModule
from tutelage.data.splits import ViewSeed
from tutelage.errors import ConfigError
from tutelage.models import serialization
from tutelage.runs import preflight
from tutelage.runs.inputs import Provided
from tutelage.runs.run import Run

METHODS = ["uhc", "ka", "cfl", "unified_heads"]
SMALL = {"epochs": 1, "teacher_epochs": 1, "limit": 100, "batch_size": 16, "device": "cpu", "baseline": False}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[str]:
    """Train specialists that share a class; the second has another image size and normalisation."""
    folder = tmp_path_factory.mktemp("specialists")
    parts = [range(6), [9, 8, 7, 6, 5]]
    keys = [{"data": "digits"}, {"data": "digits", "size": 12}]
    folders = []
    for k, (classes, more) in enumerate(zip(parts, keys, strict=True)):
        run = tutelage.train(
            "cnn4", classes=list(classes), epochs=1, limit=100, out=str(folder / str(k)), device="cpu", **more
        )
        folders.append(str(run.folder))
    return folders


@pytest.mark.parametrize("name", METHODS)
def test_one_word_is_a_whole_run_that_leaves_a_plain_student(tmp_path: Path, name: str) -> None:
    run = tutelage.distill(method=name, out=str(tmp_path / "run"), **SMALL)
    assert [member["classes"] for member in run.result["before"].values()] == [list("01234"), list("56789")]
    assert tutelage.load(run.folder).state_dict().keys() == net("cnn2").state_dict().keys()
    assert serialization.read_card(run.folder).classes == tuple("0123456789")
    assert serialization.read_card(run.folder / "teacher1" / "model.safetensors").classes == tuple("56789")
    assert "teacher1 (cnn8, classes 5 6 7 8 9)" in run.report.read_text()


@pytest.mark.parametrize("name", METHODS)
def test_there_are_no_labels_in_it(name: str, tmp_path: Path, monkeypatch) -> None:
    keys = SMALL | {"method": name, "teacher_epochs": 0}
    whole = tutelage.distill(out=str(tmp_path / "a"), **keys)
    batches = DataModule.batches

    def unlabelled(self, split, *args, **options):
        for batch in batches(self, split, *args, **options):
            hidden = split == "train" and options.get("train", True)
            yield replace(batch, targets=None) if hidden else batch

    monkeypatch.setattr(DataModule, "batches", unlabelled)
    again = tutelage.distill(out=str(tmp_path / "b"), **keys)
    assert (again.folder / "student.safetensors").read_bytes() == (whole.folder / "student.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["uhc", "ka"])
def test_a_cached_run_is_the_live_run(tmp_path: Path, runs: list[str], name: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = {key: x for key, x in SMALL.items() if key != "teacher_epochs"}
    keys |= {"method": name, "teacher": runs, "epochs": 2, "views": 2}
    live = tutelage.distill(out="live", **keys)
    for again in ("built", "read"):
        run = tutelage.distill(out=again, cache="kept", cache_storage="exact", **keys)
        assert (run.folder / "student.safetensors").read_bytes() == (live.folder / "student.safetensors").read_bytes()


def test_ka_sees_every_stage_of_every_teacher_and_cfl_the_last(tmp_path: Path) -> None:
    for name, count in (("ka", 6), ("cfl", 2)):
        run = tutelage.distill(method=name, out=str(tmp_path / name), **SMALL | {"teacher_epochs": 0})
        pairs = json.loads((run.folder / "student-0" / "phase.json").read_text())["pairs"]
        assert len(pairs) == count
        assert [pair[1][0] for pair in pairs] == ["0", "1"] * (count // 2)


def test_the_check_knows_them(runs: list[str]) -> None:
    findings = preflight.check(check({"teacher": runs, "method": "uhc", "limit": 100, "device": "cpu"}))
    whats = [finding.what for finding in findings.findings]
    assert any("accuracy on the validation split" in what for what in whats)
    trained = preflight.check(check({"method": "uhc", "limit": 100, "device": "cpu"}))
    assert "the teacher is trained on this data first" in [finding.what for finding in trained.findings]


# what each teacher gets


def test_each_teacher_gets_images_of_its_own_size_and_normalisation(runs: list[str]) -> None:
    config = check({"teacher": runs, "method": "uhc", "limit": 100, "epochs": 1, "device": "cpu"})
    run = Run(config, Provided(), Path("nowhere"))
    scheme, parts = run.scheme(run.phases()[-1])
    batch = next(parts.data.batches("test", 8, train=False))
    first, second = scheme.teacher(batch).member_outputs
    models = [tutelage.load(folder) for folder in runs]
    assert first.response.shape == (8, 6)
    assert torch.equal(first.response, models[0](batch.inputs))
    large = F.interpolate(batch.inputs, (12, 12), mode="bilinear", antialias=True)
    assert torch.equal(second.response, models[1](large))
    assert [member.size for member in scheme.teacher.member_teachers()] == [None, (12, 12)]
    assert scheme.teacher.columns == [[0, 1, 2, 3, 4, 5], [9, 8, 7, 6, 5]]


def test_a_size_that_is_asked_for_wins(runs: list[str]) -> None:
    config = check({"teacher": runs, "method": "uhc", "teacher_size": 10, "limit": 100, "epochs": 1, "device": "cpu"})
    run = Run(config, Provided(), Path("nowhere"))
    scheme, _ = run.scheme(run.phases()[-1])
    assert [member.size for member in scheme.teacher.member_teachers()] == [10, 10]


# what is refused


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"teacher": "cnn8", "teacher_classes": "parts", "method": "kd"}, "teacher_classes is for several teachers"),
        ({"teacher_classes": [[0, 1], [2, "x"]]}, "unknown class of digits 'x'"),
        ({"teacher_classes": [[0, 1], [2, 3]]}, "no teacher knows 4, 5, 6, 7, 8, 9"),
        ({"teacher_classes": [[0, 1, 2]]}, "a list of classes for each of 2"),
        ({"teacher_classes": [[0], [1, 2, 3, 4, 5, 6, 7, 8, 9]]}, "expected two or more"),
        ({"teacher_classes": "halves"}, "teacher_classes"),
        ({"classes": [0, 1, "x"]}, "unknown class of digits 'x'"),
        ({"method": "aver"}, "AVER compares with several teachers class by class"),
        ({"method": [{"name": "camkd_feature"}]}, "CAMKDFeature compares with several teachers class by class"),
        ({"ensemble": "random"}, "ensemble=random: the teachers were trained on different classes"),
        ({"method": "uhc", "stages": [{"name": "student", "classes": [0, 1]}]}, "classes is the run.s"),
        ({"method": "uhc", "stages": [{"name": "a", "classes": [0, 1]}]}, "stage a: unknown class of teacher 0"),
    ],
)
def test_what_cannot_work_is_refused_before_training(tmp_path: Path, keys, message: str) -> None:
    keys = {"method": "uhc", "teacher": ["cnn8", "cnn8"], "teacher_classes": "parts", **SMALL} | keys
    with pytest.raises(ConfigError, match=message):
        tutelage.distill(out=str(tmp_path / "run"), **keys)
    assert not (tmp_path / "run").exists()


def test_a_run_on_some_classes_is_refused_as_the_only_teacher(tmp_path: Path, runs: list[str]) -> None:
    with pytest.raises(ConfigError, match="of other classes"):
        tutelage.distill(teacher=runs[0], method="kd", limit=100, out=str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="no teacher knows 6, 7, 8, 9"):
        tutelage.distill(teacher=[runs[0]], method="uhc", limit=100, out=str(tmp_path / "run"))


def test_data_of_some_classes() -> None:
    whole, part = datasets.load("digits"), datasets.load("digits", classes=["7", "2", "3"], limit=50)
    assert part.classes == ("7", "2", "3")
    assert len(part.train) == 50
    old, new = (
        {k: v for b in d.batches("test", 64) for k, v in zip(map(digest, b.inputs), b.targets.tolist(), strict=True)}
        for d in (whole, part)
    )
    assert len(new) == sum(y in (7, 2, 3) for y in old.values())
    assert all([7, 2, 3][y] == old[x] for x, y in new.items())
    assert sorted(part.train.labels.unique().tolist()) == [0, 1, 2]
    assert part.fingerprint != whole.fingerprint
    again = part.train.take(torch.arange(5))
    assert torch.equal(again.labels, part.train.labels[:5])
    assert torch.equal(next(again.read([torch.arange(5)], ViewSeed()))[1], part.train.labels[:5])


def digest(x: torch.Tensor) -> bytes:
    return x.numpy().tobytes()
