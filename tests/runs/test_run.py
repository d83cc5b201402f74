"""Whole runs."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from small import Plain, digest, net
from torch import Tensor
from torch.utils.data import TensorDataset

import tutelage
from tutelage import AT, KD, models
from tutelage.config.schema import check, read
from tutelage.errors import CheckpointError, ConfigError, TutelageError
from tutelage.losses.base import Response
from tutelage.models import serialization
from tutelage.runs.inputs import Provided, RunInputs
from tutelage.runs.plan import RunPlan
from tutelage.runs.run import Run
from tutelage.training import fabric
from tutelage.training.callbacks import Callback
from tutelage.training.trainer import Trainer

TINY = {"teacher": "cnn4", "student": "cnn2", "epochs": 2, "teacher_epochs": 2, "limit": 100, "device": "cpu"}


def distill(out: Path, **keys) -> tutelage.FinishedRun:
    return tutelage.distill(out=str(out), **TINY | keys)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tutelage.FinishedRun:
    return distill(tmp_path_factory.mktemp("runs") / "digits", seeds=2)


def phase(run: tutelage.FinishedRun, name: str) -> dict:
    return json.loads((run.folder / name / "phase.json").read_text())


# the folder


def test_the_folder_holds_all_that_it_should(run):
    found = {str(p.relative_to(run.folder)) for p in run.folder.rglob("*") if p.is_file()}
    phases = ("teacher", "baseline-0", "student-0", "baseline-1", "student-1")
    files = ("metrics.jsonl", "phase.json", "model.safetensors", "predictions.npz", "tables.npz", "SHA256SUMS")
    expected = {"SHA256SUMS"} | {f"{p}/{f}" for p in phases for f in files}
    kept = {str(p.relative_to(run.folder)) for p in run.folder.glob("*-?/checkpoints/*")}
    assert len(kept) == 2 * 4  # the last of each student, alone and taught, from which more epochs go on
    expected |= kept | {"config.yaml", "environment.json", "result.json", "student.safetensors", "report.html"}
    assert found - {"examples.npz"} == expected
    assert read(run.folder / "config.yaml").student == "cnn2"
    assert {"torch", "tutelage", "threads", "data", "device"} <= json.loads(
        (run.folder / "environment.json").read_text()
    ).keys()


def test_the_results_numbers_are_the_phases(run):
    values = {
        n: phase(run, n)["figures"]["accuracy"]
        for n in ("teacher", "baseline-0", "baseline-1", "student-0", "student-1")
    }
    result = run.result
    assert result["student"]["values"] == [values["student-0"], values["student-1"]]
    assert result["baseline"]["values"] == [values["baseline-0"], values["baseline-1"]]
    assert result["teacher"]["values"] == [values["teacher"]]
    assert result["student"]["accuracy"] == pytest.approx(fmean(result["student"]["values"]))
    gains = [values[f"student-{k}"] - values[f"baseline-{k}"] for k in range(2)]
    assert result["gain"]["values"] == pytest.approx(gains)
    assert result["gain"]["mean"] == pytest.approx(fmean(gains))
    low, high = result["gain"]["interval"]
    assert low <= fmean(gains) <= high
    assert json.loads((run.folder / "result.json").read_text()) == result


def test_a_phases_confusion_and_predictions_agree_with_its_accuracy(run):
    told = phase(run, "student-0")
    targets, predictions, counts = np.load(run.folder / "student-0" / "tables.npz")["confusion"]
    assert counts[targets == predictions].sum() / counts.sum() == pytest.approx(told["figures"]["accuracy"])
    kept = np.load(run.folder / "student-0" / "predictions.npz")
    assert (kept["probabilities"].argmax(1) == kept["targets"]).mean() == pytest.approx(told["figures"]["accuracy"])
    assert [term["name"] for term in told["terms"]] == ["ce", "kd"]
    assert [term["weight"] for term in told["terms"]] == [0.1, 0.9]
    assert told["parameters"] == sum(p.numel() for p in net("cnn2").parameters())


def test_evaluating_the_run_gives_its_own_figures(run):
    figures = tutelage.evaluate(run.folder)
    assert figures.values == pytest.approx(phase(run, "student-0")["figures"], rel=1e-6)
    assert tutelage.evaluate(run.student, "digits").values == figures.values


def test_evaluating_uses_the_size_that_the_run_had(tmp_path):
    made = distill(tmp_path / "larger", size=12, baseline=False)
    assert tutelage.evaluate(made.folder).values == pytest.approx(phase(made, "student-0")["figures"], rel=1e-6)


def test_the_student_is_rebuilt(run):
    first = serialization.load(run.folder / "student-0" / "model.safetensors")
    assert digest(tutelage.load(run.folder)) == digest(run.student) == digest(first)
    assert type(run.student).__name__ == "CNN"


def test_seeds_are_different_trainings_and_the_same_seed_the_same(run, tmp_path):
    again = distill(tmp_path / "again")
    assert digest(again.student) == digest(run.student)
    assert digest(serialization.load(run.folder / "student-1" / "model.safetensors")) != digest(run.student)


def test_a_folder_that_is_there_is_refused(run):
    with pytest.raises(ConfigError, match=r"exists already and isn't empty.*tutelage resume"):
        distill(run.folder)


def test_without_a_name_the_next_free_folder_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        made = tutelage.distill(**TINY | {"baseline": False, "epochs": 1, "teacher_epochs": 1}, method="kd+at")
        assert made.folder == Path(f"runs/digits-kd+at-{number}")


# what can be given


def test_losses_and_weights_as_objects(tmp_path):
    made = distill(tmp_path / "r", method=KD(4) + 0.5 * AT(), baseline=False)
    terms = {term["name"]: term for term in phase(made, "student-0")["terms"]}
    assert {name: term["weight"] for name, term in terms.items()} == {"ce": 1.0, "kd": 0.9, "at": 0.5}
    assert len(phase(made, "student-0")["pairs"]) == 3


def test_a_loss_of_ones_own(tmp_path):
    class Gap(Response):
        """The gap."""

        def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
            return (student - teacher).abs().mean(1)

    made = distill(tmp_path / "r", method=2 * Gap() + KD(2), baseline=False)
    assert [t["name"] for t in phase(made, "student-0")["terms"]] == ["ce", "gap", "kd"]


def test_options_of_given_losses_are_recorded_and_survive_a_resume(tmp_path):
    class Stop(Callback):
        def on_epoch_end(self, event):
            if "student" in self.phase:
                raise KeyboardInterrupt

        def on_phase_begin(self, phase, phases):
            self.phase = phase

    whole = distill(tmp_path / "whole", method=KD(2) + 0.5 * AT(p=1), baseline=False)
    with pytest.raises(KeyboardInterrupt):
        distill(tmp_path / "r", method=KD(2) + 0.5 * AT(p=1), baseline=False, callbacks=[Stop()])
    again = tutelage.resume(tmp_path / "r")
    assert digest(again.student) == digest(whole.student)


def test_modules_and_datasets_as_objects(tmp_path):
    x, y = torch.randn(60, 1, 8, 8), torch.arange(60) % 3
    parts = TensorDataset(x[:40], y[:40]), TensorDataset(x[40:], y[40:])
    torch.manual_seed(0)
    teacher = Plain(3, width=6)
    before = digest(teacher)
    keys = {"classes": ["a", "b", "c"], "epochs": 1, "device": "cpu", "out": str(tmp_path / "r")}
    made = tutelage.distill(Plain(3), teacher, parts, "kd+at", **keys)
    assert made.result["data"]["classes"] == ["a", "b", "c"]
    assert made.result["data"]["test"] == 20
    assert digest(teacher) == before
    with pytest.raises(TutelageError, match="load"):
        tutelage.load(made.folder)
    assert digest(serialization.load(made.folder, Plain(3))) != digest(Plain(3))


def test_training_alone_needs_no_teacher(tmp_path):
    made = tutelage.train("cnn2", epochs=1, limit=100, device="cpu", out=str(tmp_path / "r"))
    assert [made.result[role] is None for role in ("teacher", "baseline", "student")] == [True, True, False]
    assert made.result["gain"] is None


def test_a_finished_run_teaches_the_next(run, tmp_path):
    made = distill(tmp_path / "next", teacher=str(run.folder), teacher_epochs=None, baseline=False)
    assert made.result["teacher"]["accuracy"] == pytest.approx(run.result["student"]["values"][0])


def test_several_teachers_are_an_ensemble(run, tmp_path):
    first, second = (str(run.folder / f"student-{k}" / "model.safetensors") for k in range(2))
    made = distill(tmp_path / "r", teacher=[first, second], teacher_epochs=None, baseline=False, method="kd+at")
    networks = [serialization.load(path) for path in (first, second)]
    test = next(tutelage.load_data(read()).batches("test", 1000, train=False))
    with torch.no_grad():
        mean = sum(network(test.inputs) for network in networks)
    assert made.result["teacher"]["accuracy"] == pytest.approx(
        (mean.argmax(1) == test.targets).float().mean().item(), abs=2e-3
    )
    assert phase(made, "student-0")["pairs"][0][1].startswith("0.layer1")


def test_a_teacher_of_another_class_order_is_refused_before_there_is_a_folder(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    arrays = {"x_train": x, "y_train": np.arange(40) % 2, "x_test": x[:10], "y_test": np.arange(10) % 2}
    for name, classes in (("one", ["cat", "dog"]), ("other", ["dog", "cat"])):
        np.savez(tmp_path / f"{name}.npz", classes=np.array(classes), **arrays)
    keys = {"epochs": 1, "batch_size": 8, "device": "cpu"}
    tutelage.train("cnn2", f"npz:{tmp_path / 'one.npz'}", out=str(tmp_path / "teacher"), **keys)
    with pytest.raises(ConfigError, match="trained in another order"):
        tutelage.distill(
            "cnn2", str(tmp_path / "teacher"), f"npz:{tmp_path / 'other.npz'}", out=str(tmp_path / "r"), **keys
        )
    assert not (tmp_path / "r").exists()


def test_peers_by_recipe(tmp_path):
    made = tutelage.distill(student="cnn2", method="dml", epochs=1, limit=100, device="cpu", out=str(tmp_path / "r"))
    told = phase(made, "student-0")
    assert set(told["others"]) == {"peer1"}
    assert {p.name for p in (made.folder / "student-0").glob("*.safetensors")} == {
        "model.safetensors",
        "peer1.safetensors",
    }
    assert made.result["teacher"] is None
    assert made.result["gain"] is not None
    one, other = (serialization.load(made.folder / "student-0" / f"{n}.safetensors") for n in ("model", "peer1"))
    assert digest(one) != digest(other)


def test_a_moving_average_by_recipe(tmp_path):
    made = tutelage.distill(
        student="cnn2", method="mean_teacher", epochs=6, limit=50, device="cpu", baseline=False, out=str(tmp_path / "r")
    )
    assert made.result["teacher"] is None
    assert [t["name"] for t in phase(made, "student-0")["terms"]] == ["ce", "kd"]


# refused before anything is trained


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"method": "at", "teacher": "none"}, "needs a teacher"),
        ({"method": [{"name": "at", "student": "layr1"}]}, "unknown layer 'layr1'"),
        ({"student": "cn2"}, "unknown model 'cn2'"),
        ({"task": "segmentation"}, "digits.* is for classification|task=segmentation"),
    ],
)
def test_what_cannot_work_is_refused_before_there_is_a_folder(tmp_path, keys, message):
    with pytest.raises(TutelageError, match=message):
        distill(tmp_path / "r", **keys)
    assert not (tmp_path / "r").exists()


def test_callbacks_hear_every_phase(tmp_path):
    class Ear(Callback):
        def __init__(self) -> None:
            self.phases, self.kinds = [], set()

        def on_phase_begin(self, phase, phases):
            self.phases.append((phase, phases))

        def on_event(self, event):
            self.kinds.add(event.kind)

    ear = Ear()
    distill(tmp_path / "r", callbacks=[ear])
    assert ear.phases == [("teacher", 3), ("baseline-0", 3), ("student-0", 3)]
    assert {"begin", "step", "norms", "epoch", "end"} <= ear.kinds


def test_phases_follow_from_what_is_asked():
    def names(**keys) -> list[str]:
        plan = RunPlan(RunInputs.load(check({"data": "digits", **keys}), Provided()))
        return [phase.name for phase in plan.phases()]

    assert names() == ["teacher", "baseline-0", "student-0"]
    assert names(baseline=False, seeds=2) == ["teacher", "student-0", "student-1"]
    assert names(teacher_epochs=0) == ["baseline-0", "student-0"]
    assert names(scheme="mutual") == ["baseline-0", "student-0"]
    assert names(teacher="moving_average") == ["baseline-0", "student-0"]
    assert names(teacher="none", method=None) == ["student-0"]


# going on


def test_a_folder_that_is_no_run_cannot_be_resumed(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(CheckpointError, match="no run folder"):
            tutelage.resume(folder)


def test_a_run_whose_data_changed_is_not_resumed(run, tmp_path):
    (tmp_path / "config.yaml").write_text((run.folder / "config.yaml").read_text())
    known = json.loads((run.folder / "environment.json").read_text())
    (tmp_path / "environment.json").write_text(json.dumps(known | {"data": "of others"}))
    with pytest.raises(CheckpointError, match="begun on other data"):
        tutelage.resume(tmp_path)


def test_a_networks_published_name_is_in_its_file(run):
    assert serialization.read_card(run.folder).model == "cnn2"
    assert models.create(serialization.read_card(run.folder).model, classes=10, channels=1)


def test_figures_go_to_tensorboard_too(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    distill(tmp_path / "r", log="tensorboard")
    events = EventAccumulator(str(tmp_path / "r" / "tensorboard" / "student-0"))
    events.Reload()
    rows = [json.loads(line) for line in (tmp_path / "r/student-0/metrics.jsonl").read_text().splitlines()]
    told = {row["step"]: row["val"]["accuracy"] for row in rows if row["kind"] == "epoch"}
    assert {e.step: e.value for e in events.Scalars("val/accuracy")} == pytest.approx(told)
    assert "losses/kd" in events.Tags()["scalars"]


@pytest.mark.parametrize("name", ["cnn2", "cnn4", "resnet8"])
def test_a_folder_is_a_run_only_if_it_holds_one(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name / "src").mkdir(parents=True)
    (tmp_path / name / "config.yaml").write_text("of: something else")
    assert not serialization.is_run(name)
    run = Run(check({"student": name, "teacher": name, "epochs": 1}), folder=Path())
    assert run.phases()[0].role == "teacher"
    (tmp_path / name / "environment.json").write_text("{}")
    assert serialization.is_run(name)


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize("name", ["./mine", "mine/deep", "."])
def test_the_path_of_a_folder_without_a_run_says_so(tmp_path, monkeypatch, role, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    with pytest.raises(ConfigError, match="is a folder and holds no run"):
        tutelage.distill(**{"student": "cnn2", "teacher": "cnn2", role: name, "epochs": 1})
    assert not (tmp_path / "runs").exists()


def test_each_phase_begins_with_a_gradient_scaler_of_its_own(tmp_path, monkeypatch):
    from lightning.fabric.plugins.precision import MixedPrecision

    class Autocast(MixedPrecision):
        def convert_input(self, data):
            return data

    scales = {}

    def fit(trainer, scheme, data, fit=Trainer.fit):
        scaler = trainer.fabric.strategy.precision.scaler
        begin = scaler.get_scale()
        students = fit(trainer, scheme, data)
        scaler.update(4.0)  # as after many steps without an overflow, or with some
        scales[len(scales)] = begin, scaler.get_scale()
        return students

    monkeypatch.setattr(fabric, "_precision", lambda settings: Autocast("16-mixed", "cpu"))
    monkeypatch.setattr(Trainer, "fit", fit)
    keys = TINY | {"epochs": 1, "teacher_epochs": 1, "optimizer": "adamw", "baseline": False}
    tutelage.distill(**keys, out=str(tmp_path / "r"))
    assert scales == {0: (65536.0, 4.0), 1: (65536.0, 4.0)}
