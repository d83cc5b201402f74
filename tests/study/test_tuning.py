"""A search: what it can't read, what it writes first, how it goes on after a kill, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small import Watched
from typer.testing import CliRunner

import tutelage
from tutelage import models
from tutelage.cli import app
from tutelage.config import parsing
from tutelage.errors import CheckpointError, ConfigError, NotFinite, TutelageError
from tutelage.runs.inputs import Provided
from tutelage.runs.run import Run
from tutelage.study import choice_folder, tune_settings
from tutelage.study.tuning import SEALED, Tuning
from tutelage.training.callbacks import Callback

SMALL = {"limit": 64, "epochs": 2, "batch_size": 32, "device": "cpu"}
ALONE = {"student": "cnn2", "teacher": "none", "method": None, "data": "digits", "search": {"lr": [0.01, 0.3, "log"]}}
TAUGHT = {
    "student": "cnn2",
    "teacher": "cnn2",
    "method": "kd",
    "data": "digits",
    "teacher_epochs": 1,
    "search": {"lr": [0.01, 0.3, "log"], "method.kd.temperature": [1, 8]},
}


class WatchedValues(Watched):
    """The same, of which the mean is to be estimated."""

    classes = ()

    def __getitem__(self, number: int):
        return super().__getitem__(number)[0], self.x[number].mean()


class Failing(Callback):
    """Refuses the trainings of these numbers with an error, or ends the process as a kill would."""

    def __init__(self, *numbers: int, error: type[BaseException] = NotFinite, epoch: int = 1) -> None:
        self.numbers, self.error, self.epoch, self.begun = numbers, error, epoch, -1

    def on_phase_begin(self, phase, phases):
        self.begun += 1

    def on_epoch_end(self, event):
        if self.begun in self.numbers and event.epoch == self.epoch:
            raise self.error("the loss is NaN")


def read(folder, name):
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize(("kind", "metric"), [(Watched, "accuracy"), (WatchedValues, "r2")])
def test_test_is_not_read_before_the_choice_is_written(kind, metric, tmp_path):
    folder = tmp_path / "tuned"
    data = {"train": kind(48), "val": kind(18), "test": kind(24, choice=folder / "choice.json")}
    student = models.create("cnn2", classes=3 if metric == "accuracy" else 1, channels=1).model
    keys = ALONE | {"student": student, "data": data, "epochs": 1, "batch_size": 16, "metric": metric}
    tuned = tutelage.tune(**keys, trials=3, out=folder)
    assert data["test"].reads > 24  # the watched split is what judges in the end
    assert [trial["state"] for trial in tuned.result["trials"]] == ["done"] * 3
    for number in range(3):
        result = read(folder / "trials" / f"{number:03}", "result.json")
        assert (result["judged_on"], result["data"]["val"]) == ("val", 18)
        assert "test" not in result["data"]
    assert tuned.run.result["judged_on"] == "test"
    assert tuned.run.result["data"]["test"] == 24
    assert isinstance(tuned.run.student, type(student))  # an object, which the search hands on


def test_a_search_from_the_first_trial_to_the_verdict(tmp_path):
    lines = []
    tuned = tutelage.tune(**TAUGHT, **SMALL, trials=3, seeds=2, out=tmp_path / "tuned", notify=lines.append)
    result, choice = tuned.result, read(tuned.folder, "choice.json")
    values = [trial["value"] for trial in result["trials"]]
    assert result["trials"][0]["point"]["lr"] == 0.1  # the untuned configuration's own
    assert choice["value"] == max(values)
    assert choice["trial"] == values.index(max(values))
    assert choice["trials"] == result["trials"]
    for trial in result["trials"]:  # the figures are those of the runs
        run = read(tuned.folder / "trials" / f"{trial['number']:03}", "result.json")
        assert run["student"]["accuracy"] == trial["value"]
        assert run["baseline"] is None
        assert len(run["student"]["values"]) == 2
        assert len(trial["curve"]) == 4
    assert (tuned.folder / "teacher" / "result.json").exists()  # trained once
    assert not list(tuned.folder.glob("trials/*/teacher/checkpoints"))
    new = [read(tuned.folder / "tuned" / f"student-{k}", "phase.json")["seed"] for k in range(2)]
    assert new == result["seeds"] == [2, 3]
    arms = [read(tuned.folder / arm, "result.json")["student"]["values"] for arm in ("tuned", "untuned")]
    assert result["gain"]["values"] == [a - b for a, b in zip(*arms, strict=True)]
    assert tutelage.evaluate(tuned.run.folder).values["accuracy"] == tuned.run.result["student"]["values"][0]
    assert len(lines) == 1 + 3 + 1 + 2
    tutelage.tune(**TAUGHT, **SMALL, trials=3, seeds=2, out=tmp_path / "tuned", notify=lines.append)
    assert len(lines) == 7 + 2  # the teacher was trained before


def test_the_choice_is_a_configuration(tmp_path):
    tuned = tutelage.tune(**TAUGHT, **SMALL, trials=2, out=tmp_path / "tuned")
    runner = CliRunner()
    arguments = ["distill", str(tuned.folder / "config.yaml"), f"out={tmp_path / 'again'}"]
    assert runner.invoke(app, arguments).exit_code == 0
    config = json.loads((tmp_path / "again" / "environment.json").read_text())["config"]
    assert config["lr"] == tuned.result["point"]["lr"]
    assert config["method"] == [{"name": "kd", "temperature": tuned.result["point"]["method.kd.temperature"]}]


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import tutelage
from tutelage.training.callbacks import Callback

class Kill(Callback):
    begun = -1

    def on_phase_begin(self, phase, phases):
        self.begun += 1

    def on_epoch_end(self, event):
        if (self.begun, event.epoch) == (2, 1):  # the second trial, between its two epochs
            os.kill(os.getpid(), signal.SIGKILL)

tutelage.tune(**{keys!r}, callbacks=[Kill()], checkpoint_every=0)
"""


def test_killed_and_resumed_it_chooses_the_same(tmp_path, monkeypatch):
    keys = {**TAUGHT, **SMALL, "trials": 3, "out": "tuned"}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    tutelage.tune(**keys, checkpoint_every=0)
    monkeypatch.chdir(tmp_path / "killed")
    script = KILLED.format(tests=str(Path(__file__).parents[1]), keys=keys)
    died = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert died.returncode == -9, died.stderr.decode()
    assert len(read(Path("tuned"), "trials.json")) == 1
    checkpoints = set(Path("tuned/trials/001/student-0/checkpoints").iterdir())
    assert checkpoints
    tutelage.tune(**keys, checkpoint_every=0)
    for file in ("trials.json", "choice.json", "tuning.json", "config.yaml", "tuning.html"):
        assert (tmp_path / "whole/tuned" / file).read_bytes() == Path("tuned", file).read_bytes(), file


def test_after_a_stop_only_the_rest_is_trained(tmp_path, monkeypatch):
    keys = {**ALONE, **SMALL, "trials": 3, "out": tmp_path / "tuned"}
    with pytest.raises(KeyboardInterrupt):
        tutelage.tune(**keys, callbacks=[Failing(2, error=KeyboardInterrupt)])
    begun = Failing()
    tuned = tutelage.tune(**keys, callbacks=[begun])
    assert begun.begun + 1 == 3  # the third trial, and both of the end
    finished = tuned.result
    monkeypatch.setattr(Run, "train", lambda run, phase: pytest.fail("it is finished"))
    assert tutelage.tune(**keys).result == finished


def test_a_failing_trial_has_its_reason_and_the_search_goes_on(tmp_path):
    tuned = tutelage.tune(**ALONE, **SMALL, trials=3, out=tmp_path / "tuned", callbacks=[Failing(1)])
    assert [trial["state"] for trial in tuned.result["trials"]] == ["done", "failed", "done"]
    assert tuned.result["trials"][1]["reason"] == "the loss is NaN"
    assert "failed: the loss is NaN" in tuned.report.read_text()


def test_if_all_trials_fail_there_is_no_choice(tmp_path):
    with pytest.raises(TutelageError, match=r"all 2 trials failed; the first, at lr=0.1: the loss is NaN"):
        tutelage.tune(**ALONE, **SMALL, trials=2, out=tmp_path / "tuned", callbacks=[Failing(0, 1)])
    assert not (tmp_path / "tuned" / "choice.json").exists()
    assert not (tmp_path / "tuned" / "tuned").exists()


def test_a_hopeless_trial_is_stopped(tmp_path, monkeypatch):
    stopped = []

    def is_hopeless(rule, curve):
        if rule.curves and not stopped:
            stopped.append(curve)
            return True
        return False

    monkeypatch.setattr("tutelage.study.stopping.MedianRule.is_hopeless", is_hopeless)
    tuned = tutelage.tune(**ALONE, **SMALL, trials=3, out=tmp_path / "tuned")
    assert [trial["state"] for trial in tuned.result["trials"]] == ["done", "stopped", "done"]
    stopped = tuned.result["trials"][1]
    assert (stopped["value"], len(stopped["curve"])) == (None, 1)
    assert tuned.result["trial"] != 1
    whole = tutelage.tune(**ALONE, **SMALL, trials=2, prune=False, out=tmp_path / "whole")
    assert [trial["state"] for trial in whole.result["trials"]] == ["done", "done"]


def test_the_end_needs_the_written_choice(tmp_path):
    settings, config = tune_settings.separate(ALONE | SMALL | {"out": str(tmp_path / "tuned")})
    tuning = Tuning.begin(config, settings, Provided())
    with pytest.raises(CheckpointError, match=r"choice.json is missing"):
        tuning.judge()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": None}, "search is missing"),
        ({"search": {}}, "search is missing"),
        ({"search": {"lrr": [1, 2]}}, "unknown key of search 'lrr'"),
        ({"search": {"lr": [0.1, 1000]}}, "search: at lr=1000: lr=1000"),
        ({"search": {"method.kd.temperature": [1, 8]}}, "unknown part 'kd'"),
        ({"search": {"student": ["cnn2", "cnn0x"]}}, "search: at student=cnn0x"),
        ({"search": {"seed": [1, 2]}}, "set seed outside"),
        ({"trials": 0}, "trials=0"),
        ({"trials": "many"}, "trials='many'"),
        ({"prune": 3}, "prune=3"),
        ({"trails": 5}, "did you mean 'trials'"),
        ({"epochs": -1}, "epochs=-1"),
        ({"devices": 2}, "trials train on one device"),
        ({"judged_on": "val"}, "judged_on=val: a search chooses on validation, then judges on test"),
        ({"limit": 5}, "can't hold the 10 classes"),
        ({"method": {"name": "at", "student": "layer9"}, "teacher": "cnn2", "search": {"lr": [0.1, 0.2]}}, "layer9"),
    ],
)
def test_refusals_come_before_the_first_training(changes, message, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "train", lambda run, phase: pytest.fail("a training began"))
    with pytest.raises(TutelageError, match=message):
        tutelage.tune(**ALONE | SMALL | {"out": tmp_path / "tuned"} | changes)
    assert not (tmp_path / "tuned").exists()


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(TutelageError, match=r"optuna isn't installed: pip install 'tutelage\[tune\]'"):
        tutelage.tune(**ALONE, **SMALL, out=tmp_path / "tuned")


def test_another_request_in_the_same_folder_is_refused(tmp_path):
    keys = {**ALONE, **SMALL, "epochs": 1, "out": tmp_path / "tuned"}
    tutelage.tune(**keys, trials=2)
    with pytest.raises(ConfigError, match=r"begun with lr=0.1, now it is 0.2"):
        tutelage.tune(**keys, trials=2, lr=0.2)
    with pytest.raises(ConfigError, match=r"begun with trials=2, now it is 3.*test has been read"):
        tutelage.tune(**keys, trials=3)
    with pytest.raises(ConfigError, match="exists already"):
        tutelage.tune(**keys | {"out": tmp_path / "tuned" / "tuned"}, trials=2)


@pytest.fixture
def begun(tmp_path):
    """Return a search in which nothing is trained yet, begun by a function that takes changes of its keys."""

    def begin(provided=None, **changes):
        settings, config = tune_settings.separate({**ALONE, **SMALL, "out": str(tmp_path / "begun"), **changes})
        return Tuning.begin(config, settings, provided or Provided())

    begin()
    return begin


def test_an_edited_request_is_refused_however_its_keys_are_given(begun):
    file = begun().folder / "tune.yaml"
    file.write_text(file.read_text().replace("- 0.01", "- 0.05"))
    edited = CliRunner().invoke(app, ["tune", str(file)])
    assert edited.exit_code == 2
    assert "isn't as it was written" in " ".join(edited.output.split())
    with pytest.raises(ConfigError, match=r"tune.yaml isn't as it was written .*: put them back, or begin in another"):
        begun().run()


def test_a_search_that_runs_keeps_its_request(begun):
    running = begun()
    with (
        choice_folder.locked(running.folder, "searching"),
        pytest.raises(ConfigError, match="another process is searching here"),
    ):
        begun(trials=30).run()
    assert "trials: 20\n" in (running.folder / "tune.yaml").read_text()


def test_a_space_of_numpys_numbers_is_one_of_plain_numbers(begun):
    search = {
        "lr": [*np.array([0.01, 0.1, 0.3])],
        "batch_size": {"choices": np.array([16, 32])},
        "augment": ("none", None),
    }
    kept = begun(search=search).request["search"]
    assert kept == {"lr": [0.01, 0.1, 0.3], "batch_size": {"choices": [16, 32]}, "augment": ["none", None]}
    assert parsing.dump(kept)


def test_the_same_folder_may_be_named_otherwise(begun, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun(out="here")
    again = begun(out=str(tmp_path / "here"))
    again._take_request()
    assert str(again.folder) == "here"  # its trainings name it so
    monkeypatch.chdir(again.folder)
    with pytest.raises(ConfigError, match="was begun with out=here, now it is /"):
        begun(out=str(tmp_path / "here")).run()


def test_another_network_of_the_same_class_is_refused(begun, tmp_path):
    first, same, other = (models.create(name, classes=10, channels=1).model for name in ("cnn2", "cnn2", "cnn4"))
    keys = {"student": "object:CNN", "out": str(tmp_path / "of objects")}
    begun(Provided(student=first), **keys)
    begun(Provided(student=same), **keys)._take_request()  # with other weights, which are drawn anew in each process
    with pytest.raises(ConfigError, match=r"was begun with another student: CNN .*: pass the network of before"):
        begun(Provided(student=other), **keys).run()


@pytest.mark.parametrize("run", ["teacher", "trials/000"])
def test_changed_data_are_refused_before_anything_is_trained(run, begun, monkeypatch):
    tuning = begun()
    (tuning.folder / run).mkdir(parents=True)
    record = {"config": tuning.config.model_dump() | SEALED, "data": "those of before"}
    choice_folder.write(tuning.folder / run / "environment.json", record)
    monkeypatch.setattr(Run, "train", lambda run, phase: pytest.fail("a training began"))
    with pytest.raises(ConfigError, match=rf"{run} was begun on other data: digits has changed since.*: put it back"):
        tuning.run()


@pytest.mark.parametrize("rest", ["tuned", "untuned", "tuning.json"])
def test_a_lost_choice_is_not_made_again_once_test_was_read(rest, begun):
    (begun().folder / rest).mkdir()
    with pytest.raises(CheckpointError, match=rf"choice.json is missing, and {rest}, .* has read test: restore it"):
        begun().run()


def test_a_lost_choice_keeps_its_trials(begun):
    choice_folder.write(begun().folder / "choice.json", {})
    (begun().folder / "choice.json").unlink()
    with pytest.raises(ConfigError, match=r"begun with trials=20, now it is 30.*The choice is made"):
        begun(trials=30).run()


def test_a_run_of_another_choice_is_refused(begun):
    tuning = begun()
    choice_folder.write(tuning.folder / "choice.json", {"config": tuning.space.base | {"lr": 0.2}})
    kept = tuning.config.model_dump() | {"seed": 1, "lr": 0.3, "out": str(tuning.folder / "tuned")}
    (tuning.folder / "tuned").mkdir()
    choice_folder.write(tuning.folder / "tuned" / "environment.json", {"config": kept})
    with pytest.raises(CheckpointError, match=r"tuned was begun with lr=0.3, and by the choice it is 0.2"):
        tuning.judge()


def test_more_trials_before_the_choice(tmp_path):
    keys = {**ALONE, **SMALL, "epochs": 1, "out": tmp_path / "tuned"}
    with pytest.raises(KeyboardInterrupt):
        tutelage.tune(**keys, trials=2, callbacks=[Failing(1, error=KeyboardInterrupt)])
    assert len(tutelage.tune(**keys, trials=3).result["trials"]) == 3
    assert "trials: 3\n" in (tmp_path / "tuned" / "tune.yaml").read_text()


def test_a_kill_just_after_the_choice_changes_nothing(tmp_path, monkeypatch):
    keys = {**ALONE, **SMALL, "epochs": 1, "trials": 2, "out": tmp_path / "tuned"}
    with pytest.raises(KeyboardInterrupt):
        tutelage.tune(**keys, callbacks=[Failing(2, error=KeyboardInterrupt)])
    choice = (tmp_path / "tuned" / "choice.json").read_bytes()
    monkeypatch.setattr(Tuning, "search", lambda tuning: pytest.fail("the choice is made"))
    tuned = tutelage.tune(**keys)
    assert (tuned.folder / "choice.json").read_bytes() == choice


def test_an_altered_choice_is_refused(tmp_path):
    keys = {**ALONE, **SMALL, "epochs": 1, "trials": 2, "out": tmp_path / "tuned"}
    tutelage.tune(**keys)
    file = tmp_path / "tuned" / "choice.json"
    file.write_text(file.read_text().replace('"lr"', '"dot"'))
    with pytest.raises(CheckpointError, match=r"choice.json"):
        tutelage.tune(**keys)


def test_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text("student: cnn2\nteacher: none\nmethod: null\nsearch:\n  lr: [0.01, 0.3, log]\n")
    small = [f"{key}={value}" for key, value in SMALL.items()]
    runner = CliRunner()
    done = runner.invoke(app, ["tune", "study.yaml", *small, "trials=2", "out=tuned"])
    assert done.exit_code == 0, done.output
    assert "trial 1: lr=" in done.output
    assert "tuned against untuned on test" in done.output
    again = runner.invoke(app, ["tune", "tuned/tune.yaml"])
    assert again.exit_code == 0, again.output
    assert "trial" not in again.output
    wrong = runner.invoke(app, ["tune", "study.yaml", "search={lrr: [1, 2]}"])
    assert wrong.exit_code == 2
    Path("tuned").rename("moved")
    moved = runner.invoke(app, ["tune", "moved/tune.yaml"])
    assert moved.exit_code == 2
    assert "it was begun as out=tuned" in moved.output
    assert not Path("tuned").exists()
