"""method=auto: what it tries, what it can't read, how it goes on after a kill, what it trains, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small import Watched
from typer.testing import CliRunner

import tutelage
from tutelage import models
from tutelage.cli import app
from tutelage.config.schema import check
from tutelage.errors import CheckpointError, ConfigError, TutelageError
from tutelage.runs.inputs import Provided, RunInputs
from tutelage.study import auto, candidates
from tutelage.study.auto import Choice
from tutelage.study.candidates import LossGroup

FEW = (LossGroup("response", 1, ("bkd", "kd")), LossGroup("feature", 1, ("fitnet",)))
"""A loss that doesn't fit, kd, and a loss of features."""
SMALL: dict[str, Any] = {"limit": 64, "epochs": 8, "batch_size": 32, "device": "cpu", "augment": "none"}
DIGITS = SMALL | {"data": "digits", "student": "cnn2", "teacher": "cnn4", "teacher_epochs": 1, "method": "auto"}


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "GROUPS", FEW)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> tuple[tutelage.FinishedRun, Watched, dict[str, Any]]:
    """A run of objects whose test split can't be read before the choice."""
    out = tmp_path_factory.mktemp("auto") / "run"
    test = Watched(30, out / "choice" / "choice.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "GROUPS", FEW)
        student, data = models.create("cnn2", classes=3, channels=1).model, (Watched(90), Watched(45), test)
        run = tutelage.distill(
            student, "cnn4", data, "auto", teacher_epochs=1,
            **{key: value for key, value in SMALL.items() if key != "limit"}, out=str(out),
        )  # fmt: skip
    return run, test, json.loads((out / "choice" / "choice.json").read_text())


def test_the_choice_is_trained_and_nothing_reads_test_before_it(chosen) -> None:
    run, test, choice = chosen
    assert test.reads >= len(test)
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert config["method"] == choice["method"]
    assert config["chosen_by"] == str(run.folder / "choice" / "choice.json")
    assert run.result["student"]["accuracy"] is not None
    assert run.result["judged_on"] == "test"


def test_every_candidate_has_its_figures_and_the_choice_keeps_its_share(chosen) -> None:
    _, _, choice = chosen
    assert [row["name"] for row in choice["candidates"]] == ["alone", "kd", "fitnet"]
    assert choice["chosen"] in ("alone", "kd", "fitnet")
    assert all(len(row["values"]) == 2 for row in choice["candidates"])
    assert "labels" in choice["left_out"]["bkd"]
    epochs = 2 * 3 * choice["epochs"]
    assert choice["cost"]["epochs"] == epochs <= 2 * 3 * SMALL["epochs"] / candidates.PART
    assert choice["cost"]["share"] == pytest.approx(epochs / (2 * 3 * SMALL["epochs"]))


def test_result_report_and_summary_tell_why(chosen) -> None:
    run, _, choice = chosen
    assert run.result["choice"]["reasons"] == choice["reasons"]
    assert "config" not in run.result["choice"]
    page = run.report.read_text()
    assert "How the method was chosen" in page
    assert "fitnet" in page
    assert "labels alone" in page
    assert "method=auto chose" in run._repr_html_()


def test_the_teacher_is_trained_once(chosen) -> None:
    run, _, choice = chosen
    folder = str(run.folder / "choice" / "teacher")
    assert (Path(folder) / "result.json").exists()
    if choice["method"] is not None:
        assert choice["config"]["teacher"] == folder
    studied = {json.loads(path.read_text())["config"]["teacher"] for path in trials(run.folder)}
    assert studied == {None, folder}


def trials(folder: Path) -> list[Path]:
    return sorted(folder.glob("choice/study/trials/*/environment.json"))


def test_the_short_trainings_have_other_seeds_a_whole_schedule_and_no_test(chosen) -> None:
    run, _, choice = chosen
    configs = [json.loads(path.read_text())["config"] for path in trials(run.folder)]
    assert {config["seed"] for config in configs} == {1, 2}
    assert {config["split_seed"] for config in configs} == {0}
    assert {config["epochs"] for config in configs} == {choice["epochs"]}
    assert {config["judged_on"] for config in configs} == {"val"}


def test_the_same_call_goes_on_and_other_keys_are_refused(tmp_path: Path) -> None:
    keys = DIGITS | {"out": str(tmp_path / "run")}
    run = tutelage.train("cnn2", **{key: value for key, value in keys.items() if key != "student"})
    choice = (run.folder / "choice" / "choice.json").read_bytes()
    plan = json.loads((run.folder / "choice" / "plan.json").read_text())
    fitnet = plan["candidates"][1]["method"][0]
    assert [fitnet["student"], fitnet["teacher"]] == plan["pair"]
    assert plan["pair"][0] == plan["pair"][1]
    again = tutelage.distill(**keys)
    assert (again.folder / "choice" / "choice.json").read_bytes() == choice
    assert again.result == run.result
    with pytest.raises(ConfigError, match=r"was begun with lr=0.1, now it is 0.2"):
        tutelage.distill(**keys | {"lr": 0.2})
    assert tutelage.resume(run.folder, epochs=9).result["choice"] == run.result["choice"]


def test_an_edited_request_is_refused(tmp_path: Path) -> None:
    file = Choice.begin(DIGITS | {"out": str(tmp_path / "run")}).folder / "auto.yaml"
    file.write_text(file.read_text().replace("epochs: 8", "epochs: 9"))
    for keys in (yaml.safe_load(file.read_text()), DIGITS | {"out": str(tmp_path / "run")}):
        with pytest.raises(ConfigError, match=r"auto.yaml isn't as it was written when .*/run was begun"):
            Choice.begin(keys)


def test_the_same_folder_may_be_named_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for out in ("run", str(tmp_path / "run")):
        assert str(Choice.begin(DIGITS | {"out": out}).run_folder) == "run"


def test_another_network_of_the_same_class_is_refused(tmp_path: Path) -> None:
    first, other = (models.create(name, classes=10, channels=1).model for name in ("cnn4", "cnn8"))
    keys = DIGITS | {"teacher": "object:CNN", "teacher_epochs": None, "out": str(tmp_path / "run")}
    for _ in range(2):
        Choice.begin(keys, Provided(teacher=first))
    with pytest.raises(ConfigError, match=r"was begun with another teacher: CNN .*: pass the network of before"):
        Choice.begin(keys, Provided(teacher=other))


def test_a_choice_goes_on_with_the_threads_of_its_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = Choice.begin(DIGITS | {"out": str(tmp_path / "run")})
    for threads in (2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda now=threads: now)
        study = choice._study(choice.config.model_dump(), choice.preview)
        study.store.close()
        assert study.settings.threads == 2


KILLED = """
import os, sys
from tutelage.study import candidates
from tutelage.study.candidates import LossGroup
from tutelage.study.auto import Choice
candidates.GROUPS = (LossGroup("response", 1, ("bkd", "kd")), LossGroup("feature", 1, ("fitnet",)))

def notify(line):
    if line.startswith("4/6"):
        os._exit(9)

Choice.begin(KEYS, notify=notify).run()
"""


def test_a_killed_choice_goes_on_to_the_same(tmp_path: Path) -> None:
    killed, whole = (DIGITS | {"out": str(tmp_path / name)} for name in ("killed", "whole"))
    code = KILLED.replace("KEYS", repr(killed))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert len(trials(Path(killed["out"]))) == 4
    with pytest.raises(CheckpointError, match=r"isn't chosen yet: `tutelage distill .*auto.yaml` goes on"):
        tutelage.resume(killed["out"])
    lines: list[str] = []
    keys = yaml.safe_load(Path(killed["out"], "choice", "auto.yaml").read_text())
    Choice.begin(keys, notify=lines.append).run()
    assert [line.partition(" ")[0] for line in lines if "/6" in line] == ["5/6", "6/6"]
    Choice.begin(whole).run()
    assert figures(killed["out"]) == figures(whole["out"])


def figures(out: str) -> Any:
    choice = json.loads(Path(out, "choice", "choice.json").read_text())
    return choice["chosen"], [(row["name"], row["state"], row["values"]) for row in choice["candidates"]]


def test_the_student_alone_is_trained_if_it_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tutelage.study.chosen.is_tie", lambda differences: True)
    given = DIGITS | {"teacher_fold": True, "cache": True, "teacher": "cnn4", "out": str(tmp_path / "run")}
    run = tutelage.distill(**given)
    assert run.result["choice"]["chosen"] == "alone"
    assert run.result["teacher"] is None
    config = check(yaml.safe_load((run.folder / "config.yaml").read_text()))
    assert config.teacher is None
    assert config.method is None
    assert not config.cache
    assert not config.teacher_fold
    assert "method=auto chose the student alone" in run.report.read_text()


def test_losses_are_tried_that_fit_the_responses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    rows = [f"{x},{y},{x * y}" for x in range(20) for y in range(20)]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,product", *rows]))
    table = {"data": f"csv:{tmp_path / 'table.csv'}", "target": "product", "student": "mlp-4", "teacher": "mlp-8"}
    plan = auto.preview({**table, "epochs": 20, "method": "auto"})
    names = [candidate.name for candidate in plan.candidates]
    assert "kd" in plan.left_out
    assert "kd" not in names
    assert {"attentive_imitation", "logit_mse", "pkt"} <= {*names}
    assert plan.cost <= plan.whole / candidates.PART


@pytest.mark.parametrize(("epochs", "seeds"), [(5, 1), (8, 1), (30, 1), (30, 2), (100, 3), (240, 5)])
def test_a_choice_costs_at_most_its_part(epochs: int, seeds: int) -> None:
    config = check(DIGITS | {"method": "kd", "epochs": epochs, "seeds": seeds})
    found = [candidates.Candidate(name, "response", name) for name in ("kd", "b", "c", "d", "e", "f", "g", "h")]
    plan = candidates._with_lengths(config, found, {}, ())
    assert plan.whole == 9 * epochs * plan.seeds
    assert plan.cost <= plan.whole / candidates.PART
    assert plan.seeds == min(max(seeds, 2), 3)
    assert plan.epochs == epochs // candidates.PART


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "none", "teacher_epochs": None}, "there is no teacher: name one"),
        ({"teacher": "moving_average", "teacher_epochs": None}, "teacher=moving_average isn't a frozen network"),
        ({"scheme": "mutual", "teacher": None, "teacher_epochs": None}, "scheme=mutual: it chooses among losses"),
        ({"stages": [{"name": "first", "method": "kd"}]}, "stages=.* belongs to a method"),
        ({"students": [{"name": "other", "student": "cnn2"}]}, "students=.* belongs to a method"),
        ({"judged_on": "val"}, "judged_on=val would judge the choice there too"),
        ({"devices": 2}, "devices=2: its trainings take one device"),
        ({"teacher": ["cnn4", "cnn4"]}, "several teachers have to be trained already"),
        ({"epochs": 4}, "epochs=4: too few for a choice .* epochs=5 or more"),
        ({"data": "diggits"}, "diggits"),
    ],
)
def test_what_can_not_be_chosen_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        tutelage.distill(**DIGITS | changes | {"out": str(tmp_path / "run")})
    assert not (tmp_path / "run" / "choice").exists()


def test_an_object_teaches_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"teacher_epochs=1: an object teaches as it is: train it first"):
        tutelage.distill(
            **DIGITS | {"teacher": models.create("cnn4", classes=10, channels=1).model, "out": str(tmp_path / "run")}
        )


def test_a_folder_that_has_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists already and isn't empty"):
        Choice.begin(DIGITS | {"out": str(tmp_path)})


def test_no_loss_that_fits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "GROUPS", (LossGroup("response", 1, ("bkd",)),))
    inputs = RunInputs.load(check(DIGITS | {"method": "kd"}), Provided())
    with pytest.raises(TutelageError, match=r"no loss fits this run; bkd: .*Name a method"):
        candidates.plan(inputs)


def test_a_fault_that_is_no_losss_is_told_without_one() -> None:
    inputs = RunInputs.load(check(DIGITS | {"method": "kd", "student": "nonet"}), Provided())
    with pytest.raises(TutelageError, match=r"^unknown model .nonet."):
        candidates.plan(inputs)


def test_configurations_of_other_commands_have_no_auto() -> None:
    with pytest.raises(ConfigError, match=r"method=auto: a study chooses it"):
        check(DIGITS)


def test_the_file_of_the_choice_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "choice.json"
    with pytest.raises(ConfigError, match=r"expected the choice.json that method=auto wrote: leave chosen_by out"):
        check(DIGITS | {"method": "kd", "chosen_by": str(file)})
    file.write_text(json.dumps({"config": {"method": "dkd"}}))
    with pytest.raises(ConfigError, match="it chose method=dkd, not kd: leave chosen_by out"):
        check(DIGITS | {"method": "kd", "chosen_by": str(file)})
    assert check(DIGITS | {"method": "dkd", "chosen_by": str(file)}).chosen_by == str(file)


def test_check_tells_what_would_be_tried() -> None:
    words = [f"{key}={value}" for key, value in DIGITS.items()]
    result = CliRunner().invoke(app, ["check", *words])
    assert result.exit_code == 0, result.output
    assert "method=auto would try" in result.output
    assert "not bkd: " in result.output
    assert "1 epochs, 2 seeds" in result.output
    assert "12% of training every candidate" in result.output


def test_the_commands_choose_and_repeat(tmp_path: Path) -> None:
    words = [f"{key}={value}" for key, value in (DIGITS | {"out": tmp_path / "run"}).items()]
    result = CliRunner().invoke(app, ["train", *words])
    assert result.exit_code == 0, result.output
    assert "method=auto chose" in result.output
    assert "6/6" in result.output
    repeated = CliRunner().invoke(app, ["train", str(tmp_path / "run" / "config.yaml"), f"out={tmp_path / 'again'}"])
    assert repeated.exit_code == 0, repeated.output
    first, second = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("run", "again"))
    checked = CliRunner().invoke(app, ["check", str(tmp_path / "run" / "config.yaml")])
    assert "method=auto chose" in checked.output
    (tmp_path / "run").rename(tmp_path / "moved")
    moved = CliRunner().invoke(app, ["distill", str(tmp_path / "moved" / "choice" / "auto.yaml")])
    assert moved.exit_code == 2
    assert f"it was begun as out={tmp_path / 'run'}" in " ".join(moved.output.split()) + str(moved.exception)
    assert second["choice"] == first["choice"]
    assert second["student"]["values"] == first["student"]["values"]
