"""The size of the first gradients, and the first steps really taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small import digits, net, offline

from tutelage.config.schema import check
from tutelage.losses.response.kd import KD
from tutelage.runs import first_steps, preflight
from tutelage.runs.run import Run
from tutelage.settings import TrainerSettings

WORDS = {"data": "digits", "limit": 200, "teacher": "cnn4", "teacher_epochs": 0, "student": "cnn2", "epochs": 5}


def levels(findings) -> list[str]:
    return [finding.level for finding in findings]


def after_backward(weight: float):
    """A scheme whose gradients are so many times those of KD and the truth."""
    data = digits(32)
    scheme = offline(data, KD())
    batch = next(iter(data.batches("train", 32)))
    scheme.wire(batch, 32)
    for _, losses in scheme.turns(batch, 0):
        (weight * torch.stack(list(losses.values())).sum()).backward()
    return scheme


@pytest.mark.parametrize(
    ("weight", "said", "level", "words"),
    [
        (1.0, {}, "ok", "suits the learning rate"),
        (1e4, {}, "warning", "which clip=5 makes"),
        (1e4, {"clip": None}, "warning", "of their length"),
        (1e4, {"clip": None, "optimizer": "adamw"}, "ok", "suits"),
        (float("inf"), {}, "error", "the gradient of student is"),
    ],
)
def test_the_size_of_the_first_gradients_is_judged(weight, said, level, words):
    (finding,) = first_steps.check_gradient_sizes(after_backward(weight), TrainerSettings(**said))
    assert finding.level == level
    assert words in finding.what


def test_a_look_at_the_sizes_leaves_the_gradients_as_they_are():
    scheme = after_backward(3.0)
    before = [p.grad.clone() for p in scheme.parameters() if p.grad is not None]
    first_steps.check_gradient_sizes(scheme, TrainerSettings())
    after = [p.grad for p in scheme.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_real_steps_say_where_the_losses_went_and_write_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run(check(WORDS), folder=Path())
    (finding,) = first_steps.take_first_steps(run, 7)
    assert finding.level == "ok"
    assert "in 7 real steps the sum of the losses went from" in finding.what
    assert not list(tmp_path.iterdir())


def test_real_steps_may_be_more_than_the_training_has():
    run = Run(check(WORDS | {"epochs": 1}), folder=Path())
    (finding,) = first_steps.take_first_steps(run, 1000)
    assert "in 4 real steps" in finding.what


def test_steps_that_ruin_the_student_are_an_error_of_check():
    words = WORDS | {"lr": 100, "clip": None, "lr_warmup": 0, "optimizer": "sgd", "method": "1000*kd"}
    found = preflight.check(check(words), steps=20).findings
    assert [f for f in found if f.level == "error" and "in 20 real steps" in f.what]
    assert not [f for f in preflight.check(check(words)).findings if "real steps" in f.what]


def test_the_steps_leave_the_given_student_as_it_was():
    from tutelage.runs.inputs import Provided

    given = Provided(student=net())
    before = [p.detach().clone() for p in given.student.parameters()]
    run = Run(check(WORDS | {"student": "object:Plain"}), given, folder=Path())
    first_steps.take_first_steps(run, 3)
    assert all(torch.equal(a, b) for a, b in zip(before, given.student.parameters(), strict=True))
