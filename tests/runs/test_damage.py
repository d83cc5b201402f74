"""Every kind of file of a run, damaged in every way: the same result, or a refusal that names the file; never another.

The cache's files have their own matrix (tests/cache/test_corruption.py).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small import digest

import tutelage
from tutelage.errors import CheckpointError, ConfigError, Interrupted, TutelageError
from tutelage.training.callbacks import Callback
from tutelage.utils import checksums, tensor_file
from tutelage.utils.files import sha256_of_bytes, sha256_of_file, write_text

WORDS = {
    "student": "cnn2", "teacher": "cnn4", "data": "digits", "limit": 96, "epochs": 2, "teacher_epochs": 1,
    "checkpoint_every": 0.0, "progress": False,
}  # fmt: skip
DERIVED = {"report.html"}
"""What is written anew from the others, and never read."""


class Stop(Callback):
    """Stops the student's training after its first epoch."""

    def on_phase_begin(self, phase: str, phases: int) -> None:
        self.phase = phase

    def on_epoch_end(self, event) -> None:
        if self.phase == "student-0":
            raise Interrupted("stopped")


def trained(folder: Path, seed: int, *callbacks: Callback) -> Path:
    keys = WORDS | {"seed": seed, "out": str(folder)}
    if not callbacks:
        return tutelage.distill(**keys).folder
    with pytest.raises(Interrupted):
        tutelage.distill(**keys, callbacks=callbacks)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "whole", 0)


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "other", 1)


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "begun", 0, Stop())


@pytest.fixture(scope="module")
def begun_other(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "begun-other", 1, Stop())


def flip(file: Path, other: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path, other: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path, other: Path) -> None:
    file.write_bytes(b"")


def delete(file: Path, other: Path) -> None:
    file.unlink()


def a_folder(file: Path, other: Path) -> None:
    file.unlink()
    file.mkdir()


def anothers(file: Path, other: Path) -> None:
    shutil.copy(other, file)


DAMAGES: list[Callable[[Path, Path], None]] = [flip, truncate, empty, delete, a_folder, anothers]

OF_A_RUN = [
    "config.yaml", "environment.json", "result.json", "student.safetensors", "examples.npz", "report.html",
    checksums.NAME,
    *(f"student-0/{name}" for name in ("phase.json", "model.safetensors", "predictions.npz", "metrics.jsonl")),
    "student-0/tables.npz", f"student-0/{checksums.NAME}", "teacher/model.safetensors", "baseline-0/phase.json",
]  # fmt: skip


def files_of(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def outcome(folder: Path) -> tuple[object, ...]:
    """What a run found: the student's bits and the figures."""
    result = json.loads((folder / "result.json").read_text())
    figures = {role: result[role]["values"] for role in ("teacher", "baseline", "student")}
    return digest(tutelage.load(folder)), figures, result["gain"]["values"]


def damaged(folder: Path, name: str, damage: Callable[[Path, Path], None], other: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    damage(to / name, other / name)
    return to


def names(error: TutelageError, name: str) -> bool:
    """Whether it says which file is off; an altered configuration is told by its key."""
    return any(word in str(error) for word in (Path(name).name, checksums.NAME, "the run was begun with"))


def test_no_kind_of_file_is_left_out(whole):
    kinds = {Path(name).name for name in OF_A_RUN}
    left = {Path(name).name for name in files_of(whole)} - kinds - {"step-000000004.pt", "step-000000004.sha256"}
    assert not {name for name in left if not name.startswith("step-")}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", OF_A_RUN)
def test_a_finished_run(whole, other, tmp_path, name, damage):
    """Resumed, reported, loaded, evaluated and used as a teacher: as before, or refused by name."""
    run = damaged(whole, name, damage, other, tmp_path / "run")
    was = outcome(whole)

    def resumed() -> object:
        return outcome(tutelage.resume(run, progress=False).folder)

    def loaded() -> object:
        return digest(tutelage.load(run)), *was[1:]

    for use in (loaded, resumed):
        try:
            assert use() == was
        except TutelageError as error:
            assert names(error, name), error  # noqa: PT017
    if name in DERIVED and damage is not a_folder:
        assert resumed() == was


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints/*.pt", "checkpoints/*.sha256"])
def test_a_run_that_was_stopped(whole, begun, begun_other, tmp_path, name, damage):
    """The newest checkpoint and its digest, and the rows so far."""
    newest = max((begun / "student-0").glob(name))
    name = str(newest.relative_to(begun))
    run = damaged(begun, name, damage, begun_other, tmp_path / "run")
    try:
        assert outcome(tutelage.resume(run, progress=False).folder) == outcome(whole)
    except TutelageError as error:
        assert names(error, name) or "checkpoint" in str(error), error  # noqa: PT017


@pytest.mark.parametrize("position", [0.01, 0.3, 0.6, 0.99])
def test_a_changed_byte_of_a_teacher_is_noticed_wherever_it_lies(whole, tmp_path, position):
    """In a run that resumes, in a run folder as teacher, and in a file copied elsewhere."""
    run = shutil.copytree(whole, tmp_path / "run")
    alone = shutil.copy(whole / "student.safetensors", tmp_path / "copy.safetensors")
    for file in (run / "student.safetensors", Path(alone)):
        content = bytearray(file.read_bytes())
        content[int(len(content) * position)] ^= 4
        file.write_bytes(content)
        with pytest.raises(TutelageError, match=file.name):
            tutelage.load(file)
        with pytest.raises(TutelageError, match=file.name):
            tutelage.distill(
                "cnn2", str(file), "digits", "kd", limit=96, epochs=1, progress=False, out=str(tmp_path / "x")
            )
        with pytest.raises(TutelageError, match=file.name):
            tutelage.evaluate(file)


def test_sums_are_those_that_sha256sum_checks(whole):
    for folder in (whole, whole / "teacher", whole / "student-0"):
        for line in (folder / checksums.NAME).read_text().splitlines():
            digest, name = line.split("  ")
            assert sha256_of_file(folder / name) == digest


def test_a_file_is_replaced_without_a_moment_in_which_it_would_be_refused(tmp_path, monkeypatch):
    file = tmp_path / "facts.json"
    checksums.write_recorded(file, "old")
    monkeypatch.setattr(
        checksums, "write_atomically", lambda path, write: checksums.verify(path)
    )  # killed before it is written
    checksums.write_recorded.__globals__["_write"](
        tmp_path, [(sha256_of_file(file), file.name)], {file.name: sha256_of_bytes(b"new")}
    )
    checksums.verify(file)
    file.write_text("new")
    checksums.verify(file)
    file.write_text("newer")
    with pytest.raises(CheckpointError, match=r"facts\.json was altered"):
        checksums.verify(file)


def test_a_folder_without_records_is_nobodys_and_torn_records_are_named(tmp_path):
    file = tmp_path / "mine.json"
    write_text(file, "1")
    checksums.verify(file)
    with pytest.raises(CheckpointError, match=r"SHA256SUMS is missing"):
        checksums.verify_folder(tmp_path)
    write_text(tmp_path / checksums.NAME, "nonsense\n")
    with pytest.raises(CheckpointError, match=r"SHA256SUMS is torn"):
        checksums.verify(file)


def test_tensors_come_back_as_they_were_with_what_was_said(tmp_path):
    tensors = {"a": torch.randn(2, 3), "b": torch.tensor(True), "c": torch.zeros(0, 2), "d": torch.ones(3).bfloat16()}
    file = tmp_path / "t.safetensors"
    file.write_bytes(tensor_file.encode_tensors(tensors, {"run": "1"}))
    assert {tensor_file.encode_tensors(tensors, {"run": "1", "of": "é"}) for _ in range(20)} == {
        tensor_file.encode_tensors(tensors, {"of": "é", "run": "1"})
    }
    found, facts = tensor_file.read_tensors(file)
    assert facts == {"run": "1"}
    assert all(torch.equal(found[name], x) and found[name].dtype == x.dtype for name, x in tensors.items())


def test_an_edited_configuration_is_still_an_edit_and_no_damage(whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("batch_size: 64", "batch_size: 32"))
    with pytest.raises(ConfigError, match="batch_size=32: the run was begun with batch_size=64"):
        tutelage.resume(run, progress=False)
