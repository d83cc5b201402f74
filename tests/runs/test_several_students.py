"""Several students on one stream of batches and one teacher's answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small import net
from torch import Tensor

import tutelage
from tutelage.config.schema import check
from tutelage.errors import ConfigError
from tutelage.losses.response.dkd import DKD
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.frozen import Frozen

KEYS: dict[str, Any] = {"data": "digits", "epochs": 2, "limit": 200, "baseline": False, "teacher_epochs": 0}


def weights(path: Path) -> dict[str, Tensor]:
    return tutelage.load(path).state_dict()


def test_each_student_is_the_one_of_a_run_of_its_own(tmp_path: Path) -> None:
    teacher = str(tutelage.train("cnn8", data="digits", epochs=1, limit=200, out=str(tmp_path / "teacher")).folder)
    further = [{"method": "dkd"}, {"student": "cnn4", "name": "larger"}]
    run = tutelage.distill("cnn2", teacher, students=further, out=str(tmp_path / "all"), **KEYS)
    alone = {
        "model": tutelage.distill("cnn2", teacher, out=str(tmp_path / "kd"), **KEYS),
        "dkd": tutelage.distill("cnn2", teacher, method="dkd", out=str(tmp_path / "dkd"), **KEYS),
        "larger": tutelage.distill("cnn4", teacher, out=str(tmp_path / "larger"), **KEYS),
    }
    for name, own in alone.items():
        together = weights(run.folder / "student-0" / f"{name}.safetensors")
        assert all(torch.equal(x, together[k]) for k, x in own.student.state_dict().items()), name
    assert set(run.result["others"]) == {"dkd", "larger"}
    assert run.result["others"]["larger"]["model"] == "cnn4"
    assert run.result["others"]["dkd"]["accuracy"] == alone["dkd"].result["student"]["accuracy"]
    page = run.report.read_text()
    assert "larger (cnn4)" in page


def test_the_teacher_answers_a_batch_once() -> None:
    task, calls = Classification(), []

    class Counted(Frozen):
        def forward(self, batch: Batch, layers: Any = ()) -> Any:
            calls.append(layers)
            return super().forward(batch, layers)

    def player(method: Any) -> Player:
        return Player(net("cnn2"), Terms.from_method(method, task.task_loss()), task)

    scheme = Offline({"a": player(KD()), "b": player(DKD()), "c": player("at")}, Counted(net("cnn4"), task))
    batch = Batch(torch.randn(6, 1, 8, 8), torch.arange(6), torch.arange(6))
    scheme.wire(batch, 20)
    calls.clear()
    turns = dict(scheme.turns(batch, 0))
    assert calls == [("layer1", "layer2", "layer3")]
    assert {name: set(losses) for name, losses in turns.items()} == {
        "a": {"ce", "kd"},
        "b": {"ce", "dkd"},
        "c": {"ce", "at"},
    }
    assert list(scheme.students()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"students": [{"methd": "kd"}]}, "unknown key of an additional student 'methd': did you mean 'method'"),
        ({"students": [{"method": "kdd"}]}, "unknown method 'kdd'"),
        ({"students": [{"method": "dkd"}], "keep": "best"}, "students: they need"),
        ({"students": [{"method": "dkd"}], "teacher": "moving_average"}, "students: they need"),
    ],
)
def test_faulty_students_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(keys)


def test_students_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two are called 'kd'"):
        tutelage.distill("cnn2", "cnn4", students=[{"method": "kd"}, {"method": "kd"}], out=str(tmp_path / "x"), **KEYS)
    assert not (tmp_path / "x").exists()


def test_others_are_summed_up_over_seeds(tmp_path: Path) -> None:
    keys = KEYS | {"epochs": 1, "seeds": 2}
    run = tutelage.distill("cnn2", "cnn4", students=[{"method": "dkd"}], out=str(tmp_path / "run"), **keys)
    told = json.loads((run.folder / "result.json").read_text())["others"]["dkd"]
    assert len(told["values"]) == 2
