"""Distillation from an existing teacher."""

import torch
from small import digits, fit, net, offline

from tutelage.losses.feature.at import AT
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.tasks.classification import Classification


def test_one_turn_of_the_student_with_the_layers_that_its_terms_ask_for():
    data = digits(32)
    scheme = offline(data, KD() + AT())
    batch = next(data.batches("train", 16))
    scheme.wire(batch, 32)
    ((name, losses),) = scheme.turns(batch, 0)
    assert (name, set(losses)) == ("student", {"ce", "kd", "at"})
    assert scheme.layers == ("layer1", "layer2", "layer3")
    assert list(scheme.students()) == ["student"]


def test_without_a_teacher_the_truth_alone_teaches():
    data = digits(128)
    scheme = Offline(Player(net("cnn4"), Terms.from_method(None, CE()), Classification()))
    batch = next(data.batches("train", 128))
    scheme.wire(batch, 128)
    (_, before), *_ = scheme.turns(batch, 0)
    student = fit(scheme, data, epochs=5, lr=0.2)
    assert CE()(student.train()(batch.inputs), targets=batch.targets).mean() < 0.8 * before["ce"]
    assert scheme.checkpoint_state() == {}


def test_a_student_comes_to_answer_as_its_teacher_does():
    data = digits(128)
    scheme = offline(data, 1.0 * KD(1.0), truth=False)
    batch = next(data.batches("train", 128, train=False))
    teacher_logits = scheme.teacher(batch).response
    fit(scheme, data, epochs=1, lr=1e-6)
    before = KD(1.0)(scheme.players["student"].student.model.train()(batch.inputs), teacher_logits).mean()
    fit(offline(data, 1.0 * KD(1.0), scheme.players["student"].student.close(), truth=False), data, epochs=8, lr=0.2)
    after = KD(1.0)(scheme.players["student"].student.model.train()(batch.inputs), teacher_logits).mean()
    assert torch.isfinite(before)
    assert after < 0.7 * before
