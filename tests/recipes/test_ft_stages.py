"""Trained modules of one stage's terms, loaded by a later stage; factor transfer's two stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small import digest, net
from torch import Tensor

import tutelage
from tutelage.config.schema import read
from tutelage.errors import CheckpointError, ConfigError, TutelageError
from tutelage.models import serialization
from tutelage.runs.inputs import Provided
from tutelage.runs.run import Run
from tutelage.schemes.base import Scheme
from tutelage.schemes.loss_pretraining import LossPretraining
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch

TINY: dict[str, Any] = {"epochs": 3, "teacher_epochs": 1, "limit": 60, "batch_size": 20, "device": "cpu"}
BATCH = Batch(torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(5), torch.arange(5))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tutelage.Finished:
    return tutelage.distill(**TINY, method="ft_stages", out=str(tmp_path_factory.mktemp("runs") / "ft"))


def scheme_of(run: tutelage.Finished, phase: str) -> Scheme:
    """Rebuild and wire the scheme of a phase."""
    again = Run(read(run.folder / "config.yaml"), Provided(), run.folder)
    scheme, parts = again.scheme(next(p for p in again.phases() if p.name == phase))
    scheme.wire(next(parts.data.batches("train", 20)), len(parts.data.train))
    return scheme


def epochs(run: tutelage.Finished) -> dict[str, int]:
    facts = [json.loads(path.read_text()) for path in run.folder.glob("*/phase.json")]
    return {fact["name"]: fact["epochs"] for fact in facts}


def saved_terms(run: tutelage.Finished) -> dict[str, Tensor]:
    return serialization.tensors(run.folder / "paraphraser-0" / "terms.safetensors")


def test_one_word_is_a_run_that_ends_in_a_bare_student(run):
    assert tutelage.load(run.folder).state_dict().keys() == net("cnn2").state_dict().keys()
    assert epochs(run) == {"teacher": 1, "baseline-0": 3, "paraphraser-0": 1, "student-0": 3}
    assert list(run.result["before"]) == ["paraphraser"]
    assert [path.parent.name for path in run.folder.glob("*/terms.safetensors")] == ["paraphraser-0"]
    assert "paraphraser (cnn2)" in run.report.read_text()


def test_the_first_stage_is_the_reconstruction_alone_and_leaves_the_student_untouched(run):
    scheme = scheme_of(run, "paraphraser-0")
    assert isinstance(scheme, LossPretraining)
    calls = []
    for name, network in (("student", scheme.students()["student"].model), ("teacher", scheme.teacher.tapped.model)):
        network.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    ((_, losses),) = scheme.turns(BATCH, 0)
    assert calls == ["teacher"]
    assert list(losses) == ["ft"]
    losses["ft"].backward()
    loss, model = scheme.players["student"].terms["ft"].loss, scheme.teacher.tapped.model
    feature = model.layer3(model.layer2(model.layer1(BATCH.inputs)))
    by_hand = (loss.decoder(loss.paraphraser(feature)) - feature).pow(2).mean()
    assert torch.allclose(losses["ft"], by_hand)
    assert all(p.grad is not None for p in loss.parameters())
    assert all(p.grad is None for p in (*model.parameters(), *scheme.students()["student"].parameters()))
    student = serialization.load(run.folder / "paraphraser-0" / "model.safetensors")
    assert digest(student) == digest(scheme.students()["student"].model)


def test_the_second_stage_holds_the_paraphraser_that_the_first_has_trained(run):
    first, then = scheme_of(run, "paraphraser-0"), scheme_of(run, "student-0")
    loss = then.players["student"].terms["ft"].loss
    trained = {name: x for name, x in saved_terms(run).items() if "paraphraser" in name}
    assert len(trained) == 6
    for name, value in trained.items():
        assert torch.equal(then.players["student"].terms.state_dict()[name], value)
        assert not torch.equal(first.players["student"].terms.state_dict()[name], value)
    ((_, losses),) = then.turns(BATCH, 0)
    assert list(losses) == ["ce", "ft"]
    sum(losses.values()).backward()
    assert all(p.grad is None for p in (*loss.paraphraser.parameters(), *then.teacher.parameters()))
    assert all(p.grad is not None for p in (*loss.translator.parameters(), *then.students()["student"].parameters()))
    teacher, student = then.teacher.tapped.model, then.students()["student"].model
    teacher_feature, student_feature = (m.layer3(m.layer2(m.layer1(BATCH.inputs))) for m in (teacher, student))
    a, b = loss.translator(student_feature).flatten(1), loss.paraphraser(teacher_feature).flatten(1)
    by_hand = 500 * (a / a.norm(dim=1, keepdim=True) - b / b.norm(dim=1, keepdim=True)).abs().mean()
    assert torch.allclose(losses["ft"], by_hand, rtol=1e-4)


@pytest.mark.parametrize("at", [2, 5])
def test_a_crash_in_either_stage_costs_no_bit(tmp_path: Path, run, monkeypatch, at):
    class Crash(Exception):
        pass

    def crash(self) -> None:
        self.count = getattr(self, "count", 0) + 1
        if self.count == at:
            raise Crash

    keys = TINY | {"method": "ft_stages", "checkpoint_every": 0, "baseline": False, "teacher_epochs": 0}
    uninterrupted = tutelage.distill(**keys, out=str(tmp_path / "whole"))
    with monkeypatch.context() as patch:
        patch.setattr(LossPretraining if at == 2 else Offline, "after_step", crash)
        with pytest.raises(Crash):
            tutelage.distill(**keys, out=str(tmp_path / "again"))
    again = tutelage.resume(tmp_path / "again")
    for file in ("paraphraser-0/terms.safetensors", "student.safetensors"):
        assert (again.folder / file).read_bytes() == (uninterrupted.folder / file).read_bytes()


def test_any_terms_trained_parts_go_on(tmp_path: Path):
    """The second stage begins with the first stage's FitNet regressor."""
    hint = [{"name": "fitnet"}]
    stages = [{"name": "hint", "method": hint}, {"name": "student", "method": hint, "term_weights": "stage:hint"}]
    keys = TINY | {"teacher_epochs": 0, "epochs": 1, "baseline": False, "method": "kd", "stages": stages}
    run = tutelage.distill(**keys, out=str(tmp_path / "r"))
    trained = serialization.tensors(run.folder / "hint-0" / "terms.safetensors")
    assert "fitnet.connectors.0.conv.weight" in trained
    state = scheme_of(run, "student-0").players["student"].terms.state_dict()
    assert all(torch.equal(state[name], value) for name, value in trained.items())
    (run.folder / "hint-0" / "terms.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"terms\.safetensors was altered"):
        scheme_of(run, "student-0")
    (run.folder / "hint-0" / "terms.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"terms\.safetensors is missing"):
        scheme_of(run, "student-0")


def staged(first: dict[str, Any], **then: Any) -> dict[str, Any]:
    return {"stages": [{"name": "first", **first}, {"name": "student", "term_weights": "stage:first", **then}]}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (staged({"method": "fitnet"}, method="ft"), "leaves parts of fitnet, and here ft has any"),
        (
            staged({"method": "ft"}, method=[{"name": "ft", "rate": 0.25}]),
            r"is \(64, 8, 3, 3\) there and \(32, 8",
        ),
        (staged({"method": "kd"}), "leaves parts of no term"),
        (staged({"method": "ft", "patience": 2}), r"those of its last epoch: let it keep the last \(keep=last\)"),
        (
            staged({}, term_weights="stage:teacher"),
            "the terms can only begin with the state of an earlier stage's terms",
        ),
        (
            staged({}, term_weights="stage:first@1"),
            "the terms can only begin with the state of an earlier stage's terms",
        ),
        (staged({}, term_weights="stage:frist"), "unknown stage 'frist': did you mean 'first'"),
        ({"term_weights": "stage:first"}, "unknown stage 'first'"),
        ({"term_weights": "parts.safetensors"}, "term_weights='parts.safetensors'"),
        ({"scheme": "without_student"}, "kd has no trainable modules"),
        ({"scheme": "without_student", "teacher": "none", "method": "ce"}, "needs a teacher, from whose features"),
    ],
)
def test_faults_are_refused_before_there_is_a_folder(tmp_path: Path, keys, message):
    with pytest.raises(TutelageError, match=message) as caught:
        tutelage.distill(**TINY | keys, out=str(tmp_path / "r"))
    assert isinstance(caught.value, ConfigError)
    assert not (tmp_path / "r").exists()
