"""Two processes equal one with the same batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small import Dense, Plain, digits, fit, offline, scenes, settings, task_of
from torch import nn

from tutelage.errors import Interrupted, NotFinite
from tutelage.losses.feature.at import AT
from tutelage.losses.feature.fitnet import FitNet
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.losses.self_distillation.ps_kd import PSKD
from tutelage.objective.player import Player
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.schemes.last_batch import LastBatch, RepeatedBatchPlayer
from tutelage.schemes.offline import Offline
from tutelage.schemes.same_class import PairPlayer, SameClass
from tutelage.tasks.classification import Classification
from tutelage.training import checkpoint
from tutelage.training.callbacks import JsonLines
from tutelage.training.fabric import make_fabric
from tutelage.training.trainer import Trainer


def scheme(kind: str, method, truth: bool):
    torch.manual_seed(0)
    if kind == "digits":
        return offline(digits(48), method, Plain(), Plain(width=6), truth=truth)
    return offline(scenes(), method, Dense(), Dense(width=6), truth=truth)


def train(folder: Path, devices: int, kind: str, method, truth: bool, changes: dict) -> None:
    """Train on so many processes; the first leaves the student and its rows in the folder."""
    changes = {"devices": devices, "batch_size": 8, "epochs": 2, "lr": 0.1, "log_every": 2} | changes
    fabric = make_fabric(settings(**changes), start="fork")

    def work(*_) -> None:
        torch.set_num_threads(1)
        data = digits(48) if kind == "digits" else scenes()
        rows = [JsonLines(folder / "rows")]
        student = fit(scheme(kind, method, truth), data, folder / "checkpoints", rows, fabric, **changes)
        if fabric.is_global_zero:
            torch.save(student.state_dict(), folder / "student.pt")

    folder.mkdir(exist_ok=True)
    fabric.launch(work) if devices > 1 else work()


def conv(student: torch.Tensor, teacher: torch.Tensor) -> nn.Module:
    """A connector without batch norm."""
    return nn.Conv2d(student.shape[1], teacher.shape[1], 1)


def left(folder: Path) -> tuple[dict, list[dict]]:
    return torch.load(folder / "student.pt"), [json.loads(line) for line in (folder / "rows").read_text().splitlines()]


@pytest.mark.parametrize(
    ("kind", "method", "truth", "changes"),
    [
        ("digits", KD(), True, {}),
        ("digits", 20 * AT(), False, {}),  # the head gets no gradient
        ("digits", [KD(), Term(FitNet(), 10, connector=conv)], True, {"clip": 1.0}),
        ("digits", KD(), True, {"accumulate": 2, "ema": 0.5}),
        ("scenes", KD() + 20 * AT(), True, {}),  # labelled pixels in unequal numbers
    ],
    ids=["kd", "at alone", "fitnet, clipped", "accumulated, averaged", "segmentation"],
)
def test_two_processes_equal_one(tmp_path, kind, method, truth, changes):
    for devices in (1, 2):
        train(tmp_path / str(devices), devices, kind, method, truth, changes)
    (one, rows), (two, theirs) = left(tmp_path / "1"), left(tmp_path / "2")
    for name in one:
        assert torch.allclose(one[name], two[name], atol=1e-6), name
    assert [row["kind"] for row in rows] == [row["kind"] for row in theirs]
    for ours, other in zip(rows, theirs, strict=True):
        if ours["kind"] == "epoch":
            assert other["val"] == pytest.approx(ours["val"], abs=1e-5)
        if ours["kind"] == "step":
            assert other["losses"] == pytest.approx(ours["losses"], abs=1e-5)


def test_two_processes_go_on_from_their_checkpoint_to_the_same_student(tmp_path):
    changes = {"checkpoint_every": 0, "epochs": 3}
    train(tmp_path / "whole", 2, "digits", KD(), True, changes)
    fabric = make_fabric(settings(devices=2, batch_size=8, **changes), start="fork")
    folder = tmp_path / "stopped"
    folder.mkdir()

    def work(*_) -> None:
        torch.set_num_threads(1)
        options = settings(devices=2, batch_size=8, lr=0.1, log_every=2, **changes)
        torch.manual_seed(3)
        trainer = Trainer(options, task_of(digits(48)), folder / "checkpoints", [JsonLines(folder / "rows")], fabric)
        made = scheme("digits", KD(), True)
        taught = made.after_step

        def stop() -> None:
            taught()
            if trainer.progress.step == 7 and fabric.global_rank == 1:  # the signal reaches one process
                trainer.state.stop.record(15)

        made.after_step = stop
        with pytest.raises(Interrupted, match="stopped by SIGTERM at step"):
            trainer.fit(made, digits(48))

    fabric.launch(work)
    state = checkpoint.load(folder / "checkpoints", print)
    assert state["progress"]["step"] == 8
    assert len(state["random"]) == 2
    train(folder, 2, "digits", KD(), True, changes)
    one, two = left(tmp_path / "whole")[0], left(folder)[0]
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_teacher_that_answers_nan_stops_both_processes(tmp_path):
    def work(*_) -> None:
        torch.set_num_threads(1)
        made = scheme("digits", KD(), True)
        with torch.no_grad():
            made.teacher.feature_extractor.model.fc.bias[0] = torch.nan
        with pytest.raises(NotFinite):
            fit(made, digits(48), fabric=fabric, devices=2, batch_size=8)
        (tmp_path / str(fabric.global_rank)).touch()

    fabric = make_fabric(settings(devices=2, batch_size=8), start="fork")
    fabric.launch(work)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "1"]


def alone(name: str):
    """A self-taught student without batch norm."""
    torch.manual_seed(0)
    if name == "last batch":
        return LastBatch(RepeatedBatchPlayer(Plain(), Terms.from_method(CE() + 1.0 * KD(3.0)), Classification()))
    if name == "same class":
        return SameClass(PairPlayer(Plain(), Terms.from_method(CE() + 1.0 * KD(4.0)), Classification()))
    return Offline(Player(Plain(), Terms.from_method(PSKD()), Classification()))


@pytest.mark.parametrize("name", ["last batch", "same class", "past predictions"])
def test_two_processes_of_a_self_taught_student_equal_one(tmp_path, name):
    for devices in (1, 2):
        changes = {"devices": devices, "batch_size": 8, "epochs": 3, "lr": 0.1, "checkpoint_every": 0}
        fabric = make_fabric(settings(**changes), start="fork")

        def work(*_, devices=devices, changes=changes, fabric=fabric) -> None:
            torch.set_num_threads(1)
            student = fit(alone(name), digits(48), tmp_path / str(devices), fabric=fabric, **changes)
            if fabric.is_global_zero:
                torch.save(student.state_dict(), tmp_path / f"{devices}.pt")

        fabric.launch(work) if devices > 1 else work()
    one, two = (torch.load(tmp_path / f"{devices}.pt") for devices in (1, 2))
    assert all(torch.allclose(one[key], two[key], atol=1e-6) for key in one)
