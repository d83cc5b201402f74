"""The moving average of the student as its teacher."""

import copy

import pytest
import torch
from small import digest, digits, fit, net

from tutelage.errors import ConfigError
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.moving_average import MovingAverage


def moved(student, times: int):
    """Return the student's states after each of several changes."""
    for _ in range(times):
        with torch.no_grad():
            for p in student.parameters():
                p.add_(torch.randn_like(p))
            student.layer1[1].running_mean.add_(1)
        yield {name: value.clone() for name, value in student.state_dict().items()}


def test_it_follows_the_formula():
    student, decay = net("cnn2"), 0.8
    teacher = MovingAverage(student, Classification(), decay)
    expected = None
    for now in moved(student, 4):
        teacher.after_step()
        if expected is None:
            expected = dict(now)
        for name, value in now.items():
            expected[name] = decay * expected[name] + (1 - decay) * value
    for name, value in teacher.teacher.feature_extractor.model.state_dict().items():
        assert not value.is_floating_point() or torch.allclose(value, expected[name], atol=1e-6), name


def test_it_remembers():
    student = net("cnn2")
    teacher, restored = (MovingAverage(student, Classification(), 0.5) for _ in range(2))
    states = moved(student, 3)
    next(states)
    teacher.after_step()
    next(states)
    teacher.after_step()
    state = copy.deepcopy(teacher.checkpoint_state())
    restored.load_checkpoint_state(state)
    next(states)
    teacher.after_step()
    restored.after_step()
    assert digest(teacher.average) == digest(restored.average)


def test_it_is_no_part_of_what_is_trained_and_trains():
    data, student = digits(48), net("cnn2", 1)
    teacher = MovingAverage(student, Classification(), 0.9)
    assert not {id(p) for p in teacher.parameters()} & {id(p) for p in student.parameters()}
    player = Player(
        student,
        Terms.from_method([{"name": "kd", "temperature": 1.0}, "at"], Classification().task_loss()),
        Classification(),
    )
    before = digest(student)
    trained = fit(Offline(player, teacher), data, epochs=2)
    assert before != digest(trained) != digest(teacher.teacher.feature_extractor.model)
    assert teacher(Batch(torch.zeros(2, 1, 8, 8))).response.shape == (2, 10)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ConfigError, match="decay="):
        MovingAverage(net(), Classification(), decay)
