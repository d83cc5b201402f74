"""Several teachers with options of their own, and peers with weights of their own, in real runs."""

from __future__ import annotations

import json

import pytest
import torch
from small import Rows, digits, net
from torch import Tensor, nn

import tutelage
from tutelage.config.schema import check, read
from tutelage.errors import ConfigError
from tutelage.runs.run import Run
from tutelage.runs.scheme_context import build_scheme
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.prefetching import PrefetchingTeacher
from tutelage.teachers.projected import Projected

SMALL = {"epochs": 1, "limit": 100, "batch_size": 16, "device": "cpu", "baseline": False}


def saved(path, network: nn.Module) -> str:
    torch.save(network.state_dict(), path)
    return str(path)


def same(model: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("each")
    weights = net("cnn8", 7)
    teachers = [
        {"model": "cnn4", "epochs": 2, "lr": 0.2},
        {"model": "cnn8", "weights": saved(folder / "w.pt", weights), "width": 3, "device": "cpu", "fold": True},
        "cnn8",
    ]
    done = tutelage.distill(
        data="digits", teacher=teachers, student="cnn2", method="kd", out=str(folder / "r"), **SMALL
    )
    return done, weights


def test_each_is_trained_by_its_own_keys_and_one_with_weights_is_not(run):
    done, _ = run
    phases = {path.parent.name: json.loads(path.read_text()) for path in done.folder.glob("teacher*/phase.json")}
    assert {name: phase["epochs"] for name, phase in phases.items() if name != "teacher"} == {
        "teacher0": 2, "teacher2": 1,
    }  # fmt: skip
    assert done.result["teacher"]["model"] == "cnn4 + cnn8 + cnn8"
    assert "cnn4 + cnn8 + cnn8" in (done.folder / "report.html").read_text()


def test_each_teaches_as_its_own_keys_say(run):
    done, weights = run
    again = Run(read(done.folder / "config.yaml"), folder=done.folder)
    student = next(phase for phase in again.plan.phases() if phase.role == "student")
    teacher = build_scheme(again.builder, student)[0].teacher
    assert isinstance(teacher, Ensemble)
    first, second, third = teacher.member_teachers()
    assert isinstance(first, Frozen)
    assert isinstance(third, Frozen)
    assert isinstance(second, PrefetchingTeacher)
    assert isinstance(second.teacher, Projected)
    assert second.teacher.width == 3
    folded = Frozen(weights, again.inputs.task, folded=True)
    inputs = next(digits().batches("train", 4))
    assert torch.allclose(second(inputs).response, folded(inputs).response, atol=1e-5)


def test_a_key_that_one_of_them_cannot_use_is_refused(tmp_path):
    teachers = [{"model": "cnn4", "lr": 0.3, "weights": saved(tmp_path / "w.pt", net("cnn4"))}, "cnn8"]
    with pytest.raises(ConfigError, match="teacher cnn4: lr is for a teacher that is trained in this run"):
        tutelage.distill(data="digits", teacher=teachers, student="cnn2", method="kd", **SMALL)
    teachers = [{"model": "cnn4", "size": 16}, "cnn8"]
    with pytest.raises(ConfigError, match="teacher_size=16: a teacher that is trained in this run"):
        tutelage.distill(data="digits", teacher=teachers, student="cnn2", method="kd", **SMALL)


def test_a_budget_that_no_teacher_uses_is_noted(tmp_path):
    recorder = Rows()
    keys = SMALL | {"data": "digits", "student": "cnn2", "out": str(tmp_path / "r")}
    tutelage.distill(**keys, method="dml", teacher_lr=0.2, callbacks=[recorder])
    assert "teacher_lr=0.2 has no effect: this run trains no teacher." in [
        row["message"] for row in recorder.of("note")
    ]


def test_peers_begin_with_their_own_weights(tmp_path):
    first, second = net("cnn2", 3), net("cnn4", 4)
    peers = [{"model": "cnn2", "weights": saved(tmp_path / "a.pt", first)}]
    peers.append({"model": "cnn4", "weights": saved(tmp_path / "b.pt", second)})
    begun = Run(check({"data": "digits", "method": "dml", "peers": peers} | SMALL), folder=tmp_path)
    scheme = build_scheme(begun.builder, begun.plan.phases()[-1])[0]
    models = [student.model for student in scheme.students().values()]
    assert same(models[0], first.state_dict())
    assert same(models[1], second.state_dict())
