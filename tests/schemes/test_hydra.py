"""A student with one head per teacher."""

import copy

import pytest
import torch
import torch.nn.functional as F
from small import digest, digits, fit, net

from tutelage.errors import ConfigError
from tutelage.losses.multi_teacher.hydra import HydraKL
from tutelage.objective.terms import Terms
from tutelage.schemes.hydra import Hydra, HydraPlayer
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen

TASK = Classification()
BATCH = Batch(torch.randn(6, 1, 8, 8), torch.arange(6), torch.arange(6))


def hydra(teachers: int = 2) -> Hydra:
    student = HydraPlayer(net("cnn2", 9), Terms.from_method(HydraKL(2.0)), TASK)
    return Hydra(student, Ensemble([Frozen(net("cnn4", k), TASK) for k in range(teachers)]))


def test_a_step_is_the_heads_divergences_written_by_hand():
    scheme = hydra()
    scheme.wire(BATCH, 20)
    player = scheme.players["student"]
    trunk, heads = copy.deepcopy(player.student.model).train(), copy.deepcopy(player.heads)
    (turn,) = scheme.turns(BATCH, 0)
    assert list(turn[1]) == ["hydra"]
    turn[1]["hydra"].backward()
    inner = trunk.layer3(trunk.layer2(trunk.layer1(BATCH.inputs))).mean((2, 3))
    by_hand = 0
    for head, teacher in zip(heads, scheme.teacher.member_teachers(), strict=True):
        teacher_logits = teacher.unfolded[0](BATCH.inputs) / 2
        by_hand += 4 * F.kl_div((head(inner) / 2).log_softmax(1), teacher_logits.softmax(1), reduction="batchmean") / 2
    by_hand.backward()
    assert torch.allclose(turn[1]["hydra"], by_hand, atol=1e-6)
    for actual, expected in zip(player.heads.parameters(), heads.parameters(), strict=True):
        assert torch.allclose(actual.grad, expected.grad, atol=1e-6)
    for actual, expected in zip(player.student.model.layer1.parameters(), trunk.layer1.parameters(), strict=True):
        assert torch.allclose(actual.grad, expected.grad, atol=1e-5)
    assert all(p.grad is None for p in scheme.teacher.parameters())
    assert all(p.grad is None for p in player.classifier().parameters())


def test_heads_begin_apart_and_the_student_ends_as_their_mean():
    scheme = hydra(3)
    student = fit(scheme, digits(48), epochs=2).eval()
    player = scheme.players["student"]
    player.set_captured_layers(["fc:in"])  # the trainer has closed it
    assert len({digest(head) for head in player.heads}) == 3
    with torch.no_grad():
        outputs = player.eval().forward_student(BATCH)
        plain = student(BATCH.inputs)
    assert torch.allclose(plain, torch.stack([m.response for m in outputs.member_outputs]).mean(0), atol=1e-5)
    assert student.state_dict().keys() == net("cnn2").state_dict().keys()


def test_it_needs_several_teachers_and_a_linear_classifier():
    scheme = Hydra(HydraPlayer(net("cnn2"), Terms.from_method(HydraKL()), TASK), Frozen(net("cnn4"), TASK))
    with pytest.raises(ConfigError, match="needs several teachers"):
        scheme.wire(BATCH, 20)

    class Pooled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 10, 3)

        def forward(self, x):
            return self.conv(x).mean((2, 3))

    scheme = hydra()
    scheme.players["student"] = HydraPlayer(Pooled(), Terms.from_method(HydraKL()), TASK)
    with pytest.raises(ConfigError, match="no linear classifier"):
        scheme.wire(BATCH, 20)
