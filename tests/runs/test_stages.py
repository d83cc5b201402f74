"""Trainings of a run before the student's."""

from __future__ import annotations

import json
import os
import random
import signal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from runs.test_resume import kill_at_random
from small import Plain, digest
from typer.testing import CliRunner

import tutelage
from tutelage.cli import app
from tutelage.config.schema import MAY_NAME_STAGE, OF_DATA, RUN_WIDE, check, keys_with_mark
from tutelage.config.stages import StageReference, epochs_of_weights, find_faults, parse_stage_ref
from tutelage.errors import ConfigError, TutelageError
from tutelage.models import serialization
from tutelage.runs import inputs, preflight
from tutelage.runs.run import Run
from tutelage.training.callbacks import Callback
from tutelage.training.events import StepEnd

KEYS: dict[str, Any] = {
    "data": "digits", "teacher": "cnn8", "student": "cnn2", "epochs": 2, "teacher_epochs": 2, "limit": 100,
    "batch_size": 20, "device": "cpu", "seeds": 2,
}  # fmt: skip
STAGES: list[dict[str, Any]] = [
    {"name": "large", "student": "cnn4", "epochs": 1},
    {
        "name": "hint",
        "teacher": "stage:large",
        "method": [{"name": "fitnet", "weight": 0.1, "task_loss_weight": 0}],
        "epochs": 3,
    },
    {"name": "student", "teacher": ["stage:teacher", "stage:large"], "student_weights": "stage:hint", "method": "aver"},
]
PHASES = ["teacher", "baseline-0", "large-0", "hint-0", "student-0", "baseline-1", "large-1", "hint-1", "student-1"]


class Ear(Callback):
    def __init__(self) -> None:
        self.phases: list[str] = []

    def on_phase_begin(self, phase: str, phases: int) -> None:
        self.phases.append(phase)
        assert phases == len(PHASES)


@pytest.fixture(scope="module")
def ear() -> Ear:
    return Ear()


@pytest.fixture(scope="module")
def run(tmp_path_factory, ear) -> tutelage.FinishedRun:
    out = tmp_path_factory.mktemp("runs") / "staged"
    return tutelage.distill(**KEYS, stages=STAGES, out=str(out), callbacks=[ear])


def told(run: tutelage.FinishedRun, phase: str) -> dict[str, Any]:
    return json.loads((run.folder / phase / "phase.json").read_text())


def weights(run: tutelage.FinishedRun, phase: str, file: str = "model") -> str:
    return digest(serialization.load(run.folder / phase / f"{file}.safetensors"))


# a run


def test_phases_are_trained_in_order_each_with_its_folder(run, ear):
    assert ear.phases == PHASES
    assert sorted(p.parent.name for p in run.folder.glob("*/phase.json")) == sorted(PHASES)
    assert [told(run, p)["model"] for p in PHASES[:5]] == ["cnn8", "cnn2", "cnn4", "cnn2", "cnn2"]
    assert [told(run, p)["seed"] for p in PHASES] == [0] * 5 + [1] * 4


def test_a_stage_has_its_own_words_and_else_the_runs(run):
    assert [told(run, p)["epochs"] for p in PHASES[:5]] == [2, 5, 1, 3, 2]
    terms = {p: [term["name"] for term in told(run, p)["terms"]] for p in PHASES[:5]}
    assert terms == {
        "teacher": ["ce"], "baseline-0": ["ce"], "large-0": ["ce", "kd"], "hint-0": ["fitnet"],
        "student-0": ["ce", "aver"],
    }  # fmt: skip


def test_alone_is_trained_as_long_as_the_students_weights():
    words = {"hint": {"epochs": 3}, "own": {"student_weights": "stage:hint@2"}, "other": {"epochs": 50}}
    assert epochs_of_weights(words, {}, 10) == 10
    assert epochs_of_weights(words, {"student_weights": "stage:hint"}, 10) == 13
    assert epochs_of_weights(words, {"student_weights": "stage:own", "epochs": 4}, 10) == 4 + 10 + 2
    assert epochs_of_weights(words, {"student_weights": "stage:teacher"}, 10) == 10
    assert epochs_of_weights(words, {"student_weights": "weights.pt"}, 10) == 10


def test_what_a_stage_left_teaches_and_goes_on(run):
    """The student's scheme, made again: its first weights are the hint's, its teachers the run's and the assistant."""
    made = Run(check(yaml.safe_load((run.folder / "config.yaml").read_text())), None, run.folder)
    for number in range(2):
        phase = next(p for p in made.phases() if p.name == f"student-{number}")
        scheme, _ = made.scheme(phase)
        assert digest(scheme.students()["student"].model) == weights(run, f"hint-{number}")
        teachers = [member.feature_extractor.model for member in scheme.teacher.member_teachers()]
        assert [digest(m) for m in teachers] == [weights(run, "teacher"), weights(run, f"large-{number}")]
        hint, _ = made.scheme(next(p for p in made.phases() if p.name == f"hint-{number}"))
        assert digest(hint.teacher.feature_extractor.model) == weights(run, f"large-{number}")
        assert digest(hint.students()["student"].model) != weights(run, f"hint-{number}")


def test_the_student_alone_teaches_each_seed_its_own(tmp_path):
    stages = [{"name": "a", "teacher": "stage:baseline"}, {"name": "student", "teacher": "stage:a"}]
    keys = KEYS | {"teacher": "none", "method": None, "epochs": 1, "stages": stages}
    keys["stages"] = [stage | {"method": "kd"} for stage in stages]
    del keys["teacher_epochs"]
    made = tutelage.distill(**keys, out=str(tmp_path / "r"))
    run = Run(check(yaml.safe_load((made.folder / "config.yaml").read_text())), None, made.folder)
    for number in range(2):
        scheme, _ = run.scheme(next(p for p in run.phases() if p.name == f"a-{number}"))
        assert digest(scheme.teacher.feature_extractor.model) == weights(made, f"baseline-{number}")


def test_without_a_truth_the_head_stays_as_it_was(run):
    made = Run(check(yaml.safe_load((run.folder / "config.yaml").read_text())), None, run.folder)
    phase = next(p for p in made.phases() if p.name == "hint-0")
    torch.manual_seed(phase.seed)
    first = made.scheme(phase)[0].students()["student"].model
    after = serialization.load(run.folder / "hint-0" / "model.safetensors")
    assert torch.equal(first.fc.weight, after.fc.weight)
    assert not torch.equal(first.layer1[0].weight, after.layer1[0].weight)


def test_the_result_and_the_report_show_all(run):
    before = run.result["before"]
    assert list(before) == ["large", "hint"]
    assert [before[name]["model"] for name in before] == ["cnn4", "cnn2"]
    for name, summary in before.items():
        assert summary["values"] == [told(run, f"{name}-{k}")["figures"]["accuracy"] for k in range(2)]
        assert summary["accuracy"] == pytest.approx(np.mean(summary["values"]))
        assert summary["seconds"] > 0
    report = run.report.read_text()
    for name in ("large (cnn4)", "hint (cnn2)", ">large<", ">hint<"):
        assert name in report


def test_the_last_stage_is_the_result(run):
    assert digest(tutelage.load(run.folder)) == weights(run, "student-0")


def test_the_command_line_tells_all(tmp_path):
    words = [f"{key}={value}" for key, value in (KEYS | {"seeds": 1, "epochs": 1, "teacher_epochs": 1}).items()]
    stages = "stages=[{name: assistant, student: cnn4}, {name: student, teacher: 'stage:assistant'}]"
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["distill", *words, stages, f"out={tmp_path / 'r'}"])
    assert done.exit_code == 0, done.output
    rows = [line.strip() for line in done.output.splitlines()]
    table = [
        row.split("  ")[0] for row in rows if row.startswith(("teacher ", "assistant ", "student ")) and "cnn" in row
    ]
    assert table == ["teacher", "assistant", "student alone", "student taught"]
    assert "assistant: 1 epochs" in done.output


def test_one_step_can_be_tried(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trial = preflight.check(check(KEYS | {"stages": STAGES}))
    assert [f.what for f in trial.findings if f.level == "error"] == []
    assert list(trial.values) == ["ce", "aver"]
    assert trial.seconds > 0
    assert list(tmp_path.iterdir()) == []


def test_a_student_given_as_an_object_goes_through_stages_of_other_models(tmp_path):
    keys = KEYS | {"seeds": 1, "student": Plain(), "epochs": 1, "teacher_epochs": 1}
    stages = [
        {"name": "assistant", "student": "cnn4"},
        {"name": "hint", "method": "at", "teacher": "stage:assistant"},
        {"name": "student", "student_weights": "stage:hint"},
    ]
    made = tutelage.distill(**keys, stages=stages, out=str(tmp_path / "r"))
    assert [told(made, p)["model"] for p in ("assistant-0", "hint-0")] == ["cnn4", "object:Plain"]
    assert isinstance(serialization.load(made.folder / "assistant-0" / "model.safetensors"), torch.nn.Module)


def test_a_run_without_a_teacher_can_have_one_in_a_stage(tmp_path):
    """A network teaches the next one of its kind."""
    keys = KEYS | {"teacher": "none", "seeds": 1, "epochs": 1}
    del keys["teacher_epochs"]
    stages = [{"name": "first", "method": None}, {"name": "student", "teacher": "stage:first"}]
    made = tutelage.distill(**keys, stages=stages, out=str(tmp_path / "r"))
    assert made.result["teacher"] is None
    assert made.result["gain"] is not None
    assert [term["name"] for term in told(made, "student-0")["terms"]] == ["ce", "kd"]


# snapshots


def test_a_network_is_kept_after_the_epochs_that_are_named(tmp_path):
    stages = [
        {"name": "first", "teacher": "stage:teacher@1", "epochs": 3},
        {"name": "student", "teacher": "stage:teacher@2", "student_weights": "stage:first@2"},
    ]
    made = tutelage.distill(**KEYS | {"seeds": 1, "snapshots": [1]}, stages=stages, out=str(tmp_path / "r"))
    assert sorted(str(p.relative_to(made.folder)) for p in made.folder.glob("*/epoch-*")) == [
        "first-0/epoch-2.safetensors",
        "student-0/epoch-1.safetensors",
        "teacher/epoch-1.safetensors",
        "teacher/epoch-2.safetensors",
    ]
    assert weights(made, "teacher", "epoch-2") == weights(made, "teacher") != weights(made, "teacher", "epoch-1")
    run = Run(check(yaml.safe_load((made.folder / "config.yaml").read_text())), None, made.folder)
    phases = {phase.name: phase for phase in run.phases()}
    first, student = (run.scheme(phases[name])[0] for name in ("first-0", "student-0"))
    assert digest(first.teacher.feature_extractor.model) == weights(made, "teacher", "epoch-1")
    assert digest(student.students()["student"].model) == weights(made, "first-0", "epoch-2")
    rows = map(json.loads, (made.folder / "teacher" / "metrics.jsonl").read_text().splitlines())
    val = [row["val"]["accuracy"] for row in rows if row["kind"] == "epoch"]
    network = serialization.load(made.folder / "teacher" / "epoch-1.safetensors")
    batch = next(run.inputs.data.batches("val", 1000, train=False))
    with torch.no_grad():
        assert (network(batch.inputs).argmax(1) == batch.targets).float().mean().item() == pytest.approx(val[0])


def test_a_snapshot_of_a_moving_average_is_the_averages(tmp_path):
    keys = {"data": "digits", "epochs": 2, "limit": 100, "ema": 0.9, "snapshots": [2], "out": str(tmp_path / "r")}
    made = tutelage.train("cnn2", **keys)
    assert weights(made, "student-0", "epoch-2") == weights(made, "student-0")


# what is refused, before there is a folder


def stage(**words: Any) -> list[dict[str, Any]]:
    return [{"name": "a"}, {"name": "b", **words}, {"name": "c"}, {"name": "student"}]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (stage(teacher="stage:aa"), "stage b: teacher=stage:aa: unknown stage 'aa': did you mean 'a'"),
        (stage(teacher="stage:c"), "stage b: teacher=stage:c: 'c' comes later, put it before"),
        (stage(teacher="stage:student"), "'student' comes later"),
        (stage(teacher="stage:b"), "a stage can't name itself"),
        (stage(teacher=["stage:a", "stage:c"]), "stage b: teacher=stage:c: 'c' comes later"),
        (stage(student_weights="stage:c"), "stage b: student_weights=stage:c: 'c' comes later"),
        (stage(student="stage:a"), "only teacher, student_weights and term_weights may name an earlier stage"),
        (stage(student_weights="stage:baseline"), "the baseline can only be named as a teacher, at its end"),
        (stage(teacher="stage:baseline@1"), "the baseline can only be named as a teacher, at its end"),
        (stage(teacher="stage:teacher@x"), "expected a whole number of epochs after @"),
        (stage(teacher="stage:teacher@0"), "expected a whole number of epochs after @"),
        (stage(teacher="stage:teacher@3"), "teacher is trained for 2 epochs"),
        (stage(teacher="stage:a@4"), "a is trained for 2 epochs"),
        ([{"name": "a", "patience": 2}, {"name": "b", "teacher": "stage:a@1"}], "with patience a may stop before"),
        (stage(student="cnn4", student_weights="stage:a"), "these are cnn2's, and the student is cnn4"),
        (stage(student_weights="stage:teacher"), "these are cnn8's, and the student is cnn2"),
        ([{"name": "a"}, {"name": "a"}], "two stages are called 'a'"),
        ([{"name": "student"}, {"name": "a"}], "put it last"),
        ([{"name": "teacher"}], "has this name already"),
        ([{"name": "teacher0"}], "has this name already"),
        ([{"name": "baseline"}], "has this name already"),
        ([{}], "its name is a letter"),
        ([{"name": "../a"}], "its name is a letter"),
        ([{"name": 3}], "its name is a letter"),
        (stage(epocs=3), "stage b: unknown key 'epocs': did you mean epochs"),
        (stage(lr=-1), "stage b: lr=-1"),
        (stage(method="kdd"), "stage b: .*unknown method 'kdd'"),
        (stage(column="digit"), "stage b: column is the run's"),
        (stage(seeds=3), "stage b: seeds is the run's"),
        (stage(lr_warmup=5), "stage b: lr_warmup=5.0 takes all of epochs=2"),
        (stage(teacher="cnn4"), "stage b: teacher=cnn4 is this stage's own, and isn't trained"),
        (stage(teacher=["cnn4", "stage:a"]), "stage b: teacher=cnn4 is this stage's own"),
        (stage(method=[{"name": "at", "student": "layr1"}]), "stage b: term 'at': unknown layer 'layr1'"),
        (stage(teacher="none"), "stage b: method='kd' needs a teacher"),
    ],
)
def test_faults_are_refused_before_there_is_a_folder(tmp_path, stages, message):
    with pytest.raises(TutelageError, match=message):
        tutelage.distill(**KEYS, stages=stages, out=str(tmp_path / "r"))
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"teacher": "stage:a"}, "teacher=stage:a: set it in the stage that it is for"),
        ({"student_weights": "stage:a"}, "student_weights=stage:a: set it in the stage"),
        ({"teacher": ["cnn4", "cnn8"], "stages": stage(teacher="stage:teacher")}, "no single teacher of its own"),
        ({"teacher": "moving_average", "stages": stage(teacher="stage:teacher")}, "no single teacher of its own"),
        ({"baseline": False, "stages": stage(teacher="stage:baseline")}, "unknown stage 'baseline'"),
        ({"teacher_epochs": 0, "stages": stage(teacher="stage:teacher@1")}, "isn't trained in this run"),
        ({"snapshots": [3]}, r"snapshots=\[3\]: expected epochs from 1 to epochs=2"),
        ({"lr_warmup": 1.5, "teacher_epochs": 1}, "teacher: lr_warmup=1.5 takes all of epochs=1"),
    ],
)
def test_faults_of_the_run_are_refused_too(tmp_path, keys, message):
    with pytest.raises(ConfigError, match=message):
        tutelage.distill(**{**KEYS, "stages": stage(), **keys}, out=str(tmp_path / "r"))
    assert not (tmp_path / "r").exists()


def test_without_stages_nothing_of_them_can_be_named(tmp_path):
    for word in ("teacher", "student_weights"):
        with pytest.raises(ConfigError, match="unknown stage 'a'"):
            tutelage.distill(**KEYS | {word: "stage:a"}, out=str(tmp_path / "r"))
    with pytest.raises(ConfigError, match="names itself"):
        tutelage.distill(**KEYS | {"teacher": "stage:teacher"}, out=str(tmp_path / "r"))


def test_all_faults_are_told_at_once():
    run = {"teacher": "cnn8", "student": "cnn2", "epochs": 2, "teacher_epochs": None}
    stages = [{"name": "a", "teacher": "stage:b", "column": "digit"}, {"name": "a"}]
    assert len(find_faults(stages, run, *map(keys_with_mark, (RUN_WIDE, OF_DATA, MAY_NAME_STAGE)))) == 3
    assert parse_stage_ref("stage:a@12") == StageReference("a", 12)


def test_a_stage_that_was_not_trained_is_no_teacher(run, tmp_path):
    """Outside a rehearsal nothing stands for what is missing."""
    made = Run(check(yaml.safe_load((run.folder / "config.yaml").read_text())), inputs.Provided(), tmp_path)
    with pytest.raises(TutelageError, match="hint-0"):
        made.scheme(next(p for p in made.phases() if p.name == "student-0"))


# going on


ONE = KEYS | {"checkpoint_every": 0, "log_every": 1, "stages": STAGES, "seeds": 1}


def work(out: Path) -> None:
    tutelage.resume(out) if (out / "environment.json").exists() else tutelage.distill(**ONE, out=str(out))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    work(out)
    return out


def left_by(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.safetensors"))}


def test_a_run_killed_again_and_again_ends_in_the_same_files(tmp_path, undisturbed):
    out, chance, killed = tmp_path / "run", random.Random(3), set()
    for _ in range(200):  # on a slow machine it comes a step further each time
        process = get_context("fork").Process(target=work, args=[out])
        process.start()
        if len(killed) < 3:
            kill_at_random(process, out, signal.SIGKILL, chance)
        process.join(200)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed |= {p.parent.name for p in out.glob("*/checkpoints")}
    assert process.exitcode == 0
    assert len(killed) >= 3, killed
    assert left_by(out) == left_by(undisturbed)


@pytest.mark.parametrize("at", PHASES[:5])
def test_a_run_stopped_in_a_stage_ends_in_the_same_files(tmp_path, undisturbed, at):
    class Stop(Callback):
        def on_phase_begin(self, phase: str, phases: int) -> None:
            self.mine = phase == at

        def on_step_end(self, event: StepEnd) -> None:
            if self.mine and event.step >= 4:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TutelageError, match="stopped by SIGTERM"):
        tutelage.distill(**ONE, out=str(tmp_path / "r"), callbacks=[Stop()])
    assert (tmp_path / "r" / at / "checkpoints").exists()
    assert not (tmp_path / "r" / at / "phase.json").exists()
    tutelage.resume(tmp_path / "r")
    assert left_by(tmp_path / "r") == left_by(undisturbed)


@pytest.mark.parametrize("at", ["large-0", "student-0"])
def test_a_run_that_fails_between_two_stages_ends_in_the_same_files(tmp_path, undisturbed, at):
    class Fail(Callback):
        def on_phase_begin(self, phase: str, phases: int) -> None:
            if phase == at:
                raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        tutelage.distill(**ONE, out=str(tmp_path / "r"), callbacks=[Fail()])
    done = {p.parent.name for p in (tmp_path / "r").glob("*/phase.json")}
    assert done == set(PHASES[: PHASES.index(at)])
    tutelage.resume(tmp_path / "r")
    assert left_by(tmp_path / "r") == left_by(undisturbed)
