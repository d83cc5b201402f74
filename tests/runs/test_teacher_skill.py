"""A teacher that came trained: refused if its classifier is untrained, and without metrics if it has no classifier."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from small import Plain, Rows, digits, net
from torch import nn

import tutelage
from tutelage import models
from tutelage.config.schema import check
from tutelage.errors import ConfigError, ModelError, TutelageError
from tutelage.models import serialization
from tutelage.runs import preflight
from tutelage.tasks import class_checks

QUICK = {"limit": 100, "epochs": 1, "device": "cpu", "student": "cnn2"}


@pytest.fixture
def foreign(tmp_path):
    """Weights of a network of seven other classes."""
    torch.save(models.create("cnn4", classes=7, channels=1).model.state_dict(), tmp_path / "foreign.pt")
    return str(tmp_path / "foreign.pt")


@pytest.mark.parametrize("epochs", [None, 0])
@pytest.mark.parametrize("method", ["kd", "dkd", "kd+at", "srrl", "sp+rkd+kd"])
def test_a_classifier_that_nobody_trained_is_refused_by_check_and_by_distill(tmp_path, foreign, method, epochs):
    keys = QUICK | {"teacher": "cnn4", "teacher_weights": foreign, "teacher_epochs": epochs, "method": method}
    with pytest.raises(ConfigError, match=r"untrained classifier: fc.bias: .* 7 classes, not 10.*teacher_epochs=N"):
        tutelage.distill(out=str(tmp_path / "run"), **keys)
    assert not (tmp_path / "run").exists()
    found = [x for x in preflight.check(check(keys)).findings if x.level == "error"]
    assert any("untrained classifier: fc.bias" in x.what for x in found)


def test_it_is_trained_where_that_is_asked_for(tmp_path, foreign):
    keys = QUICK | {"teacher": "cnn4", "teacher_weights": foreign, "teacher_epochs": 1}
    done = tutelage.distill(out=str(tmp_path / "run"), **keys)
    assert done.result["teacher"]["seconds"] > 0
    assert "error" not in [x.level for x in preflight.check(check(keys)).findings]


def test_published_weights_of_other_classes_are_the_same_kind(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification, ViTModel

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = ViTConfig(**small, image_size=8, patch_size=4, num_channels=1, num_labels=10)
    ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "headless")
    config.num_labels = 7
    ViTForImageClassification(config).save_pretrained(tmp_path / "seven")
    for folder in ("headless", "seven"):
        keys = QUICK | {"teacher": f"hf:{tmp_path / folder}", "teacher_epochs": 0, "out": str(tmp_path / "run")}
        with pytest.raises(ConfigError, match="an untrained classifier"):
            tutelage.distill(**keys)


@pytest.mark.parametrize("kind", ["a file", "a run", "an object", "a name"])
def test_check_and_distill_judge_a_teacher_at_chance_alike(kind, tmp_path):
    """Refused where a file was said to hold its weights; else it may be meant, as in a study of bad teachers."""
    torch.save(net("cnn4").state_dict(), tmp_path / "random.pt")
    serialization.save(
        tmp_path / "r" / "student.safetensors", net("cnn4"), serialization.make_card("cnn4", digits(), 10)
    )
    words = {
        "a file": {"teacher": "cnn4", "teacher_weights": str(tmp_path / "random.pt")},
        "a run": {"teacher": str(tmp_path / "r")},
        "an object": {"teacher": Plain()},
        "a name": {"teacher": "cnn4", "teacher_epochs": 0},
    }[kind]
    keys = QUICK | words | {"method": "kd", "baseline": False}
    rows = Rows()
    rows.begin = lambda *_: None
    told = {"out": str(tmp_path / "run"), "callbacks": [rows]}
    if kind == "a file":
        with pytest.raises(ConfigError, match="the teacher's accuracy on the validation split is 0") as refused:
            tutelage.distill(**keys, **told)
        said, level = str(refused.value), "error"
    else:
        tutelage.distill(**keys, **told)
        said, level = " ".join(row["message"] for row in rows.of("warning")), "warning"
    if kind != "an object":  # of which the command line's check knows nothing
        found = [x for x in preflight.check(check(keys)).findings if x.what.startswith("the teacher's accuracy on")]
        assert [x.level for x in found] == [level]
        assert found[0].what in said
    assert "the teacher's accuracy on the validation split is 0" in said


class Answering(nn.Module):
    """A teacher of features whose answers are of something else."""

    def __init__(self, shape: str) -> None:
        super().__init__()
        self.net, self.shape = Plain(7), shape

    def forward(self, x):
        said = self.net(x)
        shapes = {"fewer classes": said, "an embedding": said.repeat(1, 9), "a map": said[:, :, None, None]}
        return shapes[self.shape]


@pytest.mark.parametrize("shape", ["fewer classes", "an embedding", "a map"])
def test_a_teacher_of_features_alone_gets_no_figure(tmp_path, shape, capsys):
    keys = {"out": str(tmp_path / "run"), "method": "at+fitnet", "limit": 100, "epochs": 1, "device": "cpu"}
    done = tutelage.distill("cnn2", Answering(shape), teacher_epochs=0, **keys)
    assert done.result["teacher"]["accuracy"] is None
    assert done.result["teacher"]["values"] == []
    assert done.result["teacher"]["parameters"] > 0
    assert not done.result["teacher_is_worse"]
    assert json.loads((done.folder / "teacher" / "phase.json").read_text())["figures"] == {}
    assert not (done.folder / "teacher" / "predictions.npz").exists()
    from tutelage.cli.summary import print_summary

    print_summary(done)
    assert "teacher" in capsys.readouterr().out
    assert done.report.exists()
    assert tutelage.resume(done.folder, student=None, teacher=Answering(shape)).result == done.result


def test_its_answers_are_refused_where_they_are_compared(tmp_path):
    with pytest.raises(TutelageError, match="compares class by class, but the student outputs 10 classes"):
        tutelage.distill("cnn2", Answering("fewer classes"), method="kd", teacher_epochs=0, limit=100)


def test_a_new_classifier_may_teach_features_and_has_no_figure(tmp_path, foreign):
    keys = QUICK | {"teacher": "cnn4", "teacher_weights": foreign, "method": "at", "out": str(tmp_path / "run")}
    assert tutelage.distill(**keys).result["teacher"]["accuracy"] is None


@pytest.mark.parametrize("answers", ["a map", "fewer classes"])
def test_a_student_that_answers_something_else_is_refused(answers):
    with pytest.raises(ModelError, match="expected 10 classes for each sample"):
        tutelage.distill(Answering(answers), "cnn4", limit=100)


def test_a_teacher_worse_than_a_linear_classifier_is_warned_of():
    assert [x.level for x in class_checks.compare_with_linear(0.3, 0.8)] == ["warning"]
    assert [*class_checks.compare_with_linear(0.8, 0.3)] == []
    assert class_checks.linear_accuracy(digits(400)) > 0.7


def test_a_result_says_whether_the_teacher_is_worse(tmp_path):
    keys = {"limit": 300, "epochs": 10, "teacher_epochs": 1, "device": "cpu", "out": str(tmp_path / "run")}
    done = tutelage.distill("cnn8", "cnn2", **keys)
    assert done.result["teacher"]["accuracy"] < done.result["baseline"]["accuracy"]
    assert done.result["teacher_is_worse"]
    assert np.load(done.folder / "baseline-0" / "tables.npz")["confusion"][2].sum() == done.result["data"]["test"]
