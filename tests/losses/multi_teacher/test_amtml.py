"""Learned weights of several teachers."""

import torch
import torch.nn.functional as F

from tutelage.losses.multi_teacher.amtml import AMTML


def test_equals_the_formula_and_its_weights_get_gradients():
    torch.manual_seed(0)
    student, teachers = torch.randn(6, 5, requires_grad=True), [torch.randn(6, 5) for _ in range(3)]
    h = torch.randn(6, 4, requires_grad=True)
    loss = AMTML(temperature=2.0)
    loss.build([student, h], teachers, 20)
    logits = torch.stack([(loss.v[:, 0] * loss.theta[m] * h).sum(1) for m in range(3)], 1)
    mixed = sum(logits.softmax(1)[:, m, None] * F.softmax(teachers[m] / 2, 1) for m in range(3))
    by_hand = 4 * (mixed * (mixed.log() - F.log_softmax(student / 2, 1))).mean(1)
    value = loss([student, h], teachers)
    assert torch.allclose(value, by_hand, atol=1e-6)
    parameters = [student, h, loss.theta, loss.v]
    for actual, expected in zip(
        torch.autograd.grad(value.sum(), parameters, retain_graph=True),
        torch.autograd.grad(by_hand.sum(), parameters),
        strict=True,
    ):
        assert torch.allclose(actual, expected, atol=1e-5)
        assert actual.abs().max() > 1e-4
