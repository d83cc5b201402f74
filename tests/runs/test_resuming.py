"""A run goes on with keys that changed: those that may take effect and are recorded, the others are refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from small import Rows

import tutelage
from tutelage.config.schema import Config, resumable_keys
from tutelage.errors import CheckpointError, ConfigError, Interrupted, TutelageError
from tutelage.training.callbacks import Callback

KEYS: Mapping[str, Any] = {
    "teacher": "cnn2", "student": "cnn2", "epochs": 2, "limit": 64, "batch_size": 16, "device": "cpu", "log_every": 1,
    "checkpoint_every": 0, "teacher_epochs": None, "lr_warmup": 0.0,
}  # fmt: skip


class Stop(Callback):
    """Ends a training as a kill would, at a step of a phase."""

    def __init__(self, phase: str, step: int) -> None:
        self.at, self.phase = (phase, step), ""

    def on_phase_begin(self, phase, phases):
        self.phase = phase

    def on_step_end(self, event):
        if (self.phase, event.step) == self.at:
            raise KeyboardInterrupt


def stop(phase: str, step: int, begin=tutelage.distill, **keys) -> None:
    with pytest.raises(KeyboardInterrupt):
        begin(callbacks=[Stop(phase, step)], **keys)


def phase(folder: Path, name: str) -> dict:
    return json.loads((folder / name / "phase.json").read_text())


def rows(folder: Path, name: str, kind: str) -> list[dict]:
    lines = (folder / name / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def record(folder: Path) -> dict:
    return json.loads((folder / "environment.json").read_text())


def weights(folder: Path) -> list[bytes]:
    return [(folder / name / "model.safetensors").read_bytes() for name in ("teacher", "baseline-0", "student-0")]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "finished"
    tutelage.distill(out=str(out), **KEYS)
    return out


@pytest.fixture
def finished(finished_once, tmp_path) -> Path:
    return shutil.copytree(finished_once, tmp_path / "finished")


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "stopped"
    stop("student-0", 3, out=str(out), **KEYS)
    return out


@pytest.fixture
def stopped(stopped_once, tmp_path) -> Path:
    return shutil.copytree(stopped_once, tmp_path / "stopped")


@pytest.mark.parametrize("which", ["finished", "stopped"])
def test_more_epochs_are_trained_alone_and_taught_for_as_many(which, request):
    folder = request.getfixturevalue(which)
    teacher = (folder / "teacher" / "model.safetensors").read_bytes()
    before = weights(folder) if which == "finished" else []
    done = tutelage.resume(folder, epochs=4)
    assert [phase(folder, name)["epochs"] for name in ("teacher", "baseline-0", "student-0")] == [2, 4, 4]
    assert weights(folder)[0] == teacher
    assert all(a != b for a, b in zip(weights(folder)[1:], before[1:], strict=bool(before)))
    for name in ("baseline-0", "student-0"):
        assert [row["epoch"] for row in rows(folder, name, "epoch")] == [1, 2, 3, 4]
        assert [row["step"] for row in rows(folder, name, "step")] == list(range(1, 17))
        rates = [row["lr"] for row in rows(folder, name, "step")]
        assert rates[-1] < 1e-3  # the course ends where the new length does
        assert rates[11] == pytest.approx(0.1 * 0.5 * (1 + 2**-0.5 * -1), rel=1e-6)  # at 3/4 of 16 steps
    assert done.result["student"]["values"] == [phase(folder, "student-0")["figures"]["accuracy"]]
    assert yaml.safe_load((folder / "config.yaml").read_text())["epochs"] == 4
    (change,) = record(folder)["changes"]
    assert change["keys"] == {"epochs": {"was": 2, "is": 4}}
    assert "teacher" in change["trained before"]
    after = weights(folder)
    tutelage.resume(folder)
    assert weights(folder) == after
    assert len(record(folder)["changes"]) == 1


@pytest.mark.parametrize("at", [("baseline-0", 10), ("student-0", 9), ("student-0", 16)])
def test_a_kill_among_the_further_epochs_costs_no_bit(finished, tmp_path, at):
    other = shutil.copytree(finished, tmp_path / "other")
    tutelage.resume(other, epochs=4)
    stop(*at, begin=tutelage.resume, folder=finished, epochs=4)
    tutelage.resume(finished)
    assert weights(finished) == weights(other)


def test_edits_of_the_file_do_the_same(stopped, tmp_path):
    other = shutil.copytree(stopped, tmp_path / "other")
    tutelage.resume(other, epochs=3, lr=0.02)
    text = (stopped / "config.yaml").read_text()
    (stopped / "config.yaml").write_text(text.replace("epochs: 2\n", "epochs: 3\n").replace("lr: 0.1\n", "lr: 0.02\n"))
    tutelage.resume(stopped)
    assert weights(stopped) == weights(other)
    assert record(stopped)["changes"][0]["keys"] == record(other)["changes"][0]["keys"]
    assert record(stopped)["config"] == record(other)["config"]


def test_another_learning_rate_takes_effect_and_is_said(stopped):
    recorder = Rows()
    tutelage.resume(stopped, [recorder], lr=0.001)
    rates = [row["lr"] for row in rows(stopped, "student-0", "step")]
    assert max(rates[:2]) > 0.05
    assert max(rates[3:]) <= 0.001
    assert "baseline-0 was trained with 0.1" in recorder.of("warning")[0]["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"workers": 1},
        {"log_every": 4, "checkpoint_every": 100.0},
        {"checkpoint_every": 100.0},
        {"device": "auto"},
        {"log": "tensorboard"},
    ],
)
def test_what_surrounds_a_training_may_change_and_no_figure_does(stopped, finished, change):
    tutelage.resume(stopped, **change)
    assert weights(stopped) == weights(finished)
    assert record(stopped)["changes"][0]["keys"].keys() == change.keys()
    if "log" in change:
        assert list((stopped / "tensorboard").rglob("events*"))
    if "log_every" in change:
        assert len(rows(stopped, "student-0", "step")) < 8


PAST: Mapping[str, Any] = {
    "teacher": "cnn4", "student": "cnn4", "data": "digits-tasks", "method": "dkd", "scheme": "mutual", "seed": 3,
    "seeds": 2, "baseline": False, "batch_size": 32, "limit": 65, "val": 0.2, "weight_decay": 0.1, "momentum": 0.5,
    "schedule": "constant", "optimizer": "adamw", "precision": "bf16", "teacher_epochs": 5, "augment": "none",
    "keep": "best", "patience": 5, "size": 16, "accumulate": 2, "ema": 0.9, "snapshots": [1], "out": "elsewhere",
}  # fmt: skip


@pytest.mark.parametrize("key", PAST)
@pytest.mark.parametrize("how", ["in Python", "in the file"])
def test_what_cannot_change_any_more_is_refused_by_name(finished, key, how):
    was = record(finished)["config"][key]
    if how == "in the file":
        config = yaml.safe_load((finished / "config.yaml").read_text())
        (finished / "config.yaml").write_text(yaml.safe_dump(config | {key: PAST[key]}))
    before = contents(finished)
    with pytest.raises(ConfigError) as caught:
        tutelage.resume(finished, **({key: PAST[key]} if how == "in Python" else {}))
    if key != "scheme":  # which contradicts the teacher
        assert f"{key}={PAST[key]!r}: the run was begun with {key}={was!r}" in str(caught.value)
        assert ", ".join(resumable_keys()) in str(caught.value)
    assert contents(finished) == before


def test_all_that_cannot_change_is_told_at_once(finished):
    with pytest.raises(ConfigError) as caught:
        tutelage.resume(finished, seed=3, student="cnn4", epochs=1)
    assert [line.partition("=")[0] for line in str(caught.value).splitlines()] == ["seed", "student", "epochs"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 1}, "may only get more"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"epochs": True}, "valid integer"),
        ({"lr": -1.0}, "greater than 0"),
        ({"lr": 0.02}, "nothing is left to be trained"),
        ({"epoch": 4}, "unknown key 'epoch': did you mean epochs"),
        ({"log": ["csv"]}, "log"),
    ],
)
def test_changes_that_cannot_be_meant_are_refused(finished, change, message):
    before = contents(finished)
    with pytest.raises(ConfigError, match=message):
        tutelage.resume(finished, **change)
    assert contents(finished) == before


def test_without_its_last_checkpoint_a_finished_training_gets_no_more_epochs(finished):
    shutil.rmtree(finished / "baseline-0" / "checkpoints")
    before = contents(finished)
    with pytest.raises(CheckpointError, match=r"baseline-0 is trained already, and its last checkpoint is gone"):
        tutelage.resume(finished, epochs=4)
    assert contents(finished) == before
    tutelage.resume(finished)


def test_what_is_said_as_it_was_is_no_change(finished):
    before = weights(finished)
    tutelage.resume(finished, epochs=2, student="cnn2", seed=0)
    assert weights(finished) == before
    assert "changes" not in record(finished)


STAGES = [{"name": "first", "teacher": None, "method": None}, {"name": "student", "student_weights": "stage:first"}]


def test_stages_that_go_by_the_runs_epochs_and_are_trained_bar_more(tmp_path):
    out = tmp_path / "run"
    stop("student-0", 3, out=str(out), stages=STAGES, **KEYS)
    with pytest.raises(ConfigError, match="epochs=4: first-0 is trained already"):
        tutelage.resume(out, epochs=4)
    own = [STAGES[0], STAGES[1] | {"epochs": 2}]
    stop("first-0", 2, out=str(tmp_path / "b"), stages=own, baseline=False, **KEYS)
    with pytest.raises(ConfigError, match="the stage 'student' has epochs of its own"):
        tutelage.resume(tmp_path / "b", epochs=4)


def test_after_stages_with_epochs_of_their_own_the_student_goes_on_and_so_does_alone(tmp_path):
    out = tmp_path / "run"
    tutelage.distill(out=str(out), stages=[STAGES[0] | {"epochs": 1}, STAGES[1]], **KEYS)
    assert [phase(out, name)["epochs"] for name in ("first-0", "student-0", "baseline-0")] == [1, 2, 3]
    tutelage.resume(out, epochs=3)
    assert [phase(out, name)["epochs"] for name in ("first-0", "student-0", "baseline-0")] == [1, 3, 4]


def test_a_kill_while_a_change_is_recorded_loses_nothing(stopped, monkeypatch):
    from tutelage.runs import resuming

    wrote = resuming.checksums.write_recorded

    def killed(path: Path, text: str) -> None:
        if path.name == "environment.json":
            raise KeyboardInterrupt
        wrote(path, text)

    monkeypatch.setattr(resuming.checksums, "write_recorded", killed)
    with pytest.raises(KeyboardInterrupt):
        tutelage.resume(stopped, epochs=3)
    monkeypatch.undo()
    tutelage.resume(stopped)
    assert phase(stopped, "student-0")["epochs"] == 3
    assert record(stopped)["changes"][0]["keys"] == {"epochs": {"was": 2, "is": 3}}


def test_keys_that_may_change_are_marked_where_they_are_declared():
    assert {"epochs", "lr", "device", "workers", "log", "log_every", "checkpoint_every"} <= set(resumable_keys())
    assert not set(PAST) & set(resumable_keys())
    assert set(resumable_keys()) < Config.model_fields.keys()


def test_who_is_stopped_is_told_how_to_go_on(tmp_path, monkeypatch):
    import os
    import signal

    class Signal(Callback):
        def on_step_end(self, event):
            os.kill(os.getpid(), signal.SIGINT)

    out = tmp_path / "a run"
    with pytest.raises(Interrupted, match=f"`tutelage resume '{out}'` goes on"):
        tutelage.train(
            "cnn2", callbacks=[Signal()], out=str(out), **{k: KEYS[k] for k in ("epochs", "limit", "device")}
        )


@pytest.mark.parametrize("role", ["teacher", "student", "teacher_weights", "student_weights"])
def test_another_network_in_the_place_of_a_saved_one_is_refused(role, tmp_path):
    keys = {"limit": 300, "epochs": 6, "lr": 0.1, "device": "cpu"}
    saved = tmp_path / "saved"
    of_role = str(saved / "student.safetensors" if role.endswith("weights") else saved)
    networks = {"student": "cnn8", "teacher": "cnn8"} | {role: of_role}
    tutelage.train("cnn8", out=str(saved), **keys)
    run = tutelage.distill(**networks, baseline=False, out=str(tmp_path / "run"), **keys)
    assert tutelage.resume(run.folder).result == run.result
    shutil.rmtree(saved)
    tutelage.train("cnn8", out=str(saved), seed=5, **keys)
    for again in (tutelage.resume, tutelage.explain):
        with pytest.raises(CheckpointError, match=r"saved.* is another network than when the run was begun"):
            again(run.folder)


def test_torn_records_are_named(finished):
    for text in ("{}", '{"data": "x"}', '{"data": "x", "config": 3}', "[]", "", '{"data": 3, "config": {}}'):
        (finished / "environment.json").write_text(text)
        with pytest.raises(TutelageError, match="torn"):
            tutelage.resume(finished)
