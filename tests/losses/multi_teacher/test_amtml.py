"""Shares of several teachers that are learned."""

import torch
import torch.nn.functional as F

from tutelage.losses.multi_teacher.amtml import AMTML


def test_is_its_formula_and_its_shares_get_the_gradient():
    torch.manual_seed(0)
    student, teachers = torch.randn(6, 5, requires_grad=True), [torch.randn(6, 5) for _ in range(3)]
    loss = AMTML(temperature=2.0)
    loss.build(student, teachers, 20)
    with torch.no_grad():
        loss.theta.copy_(torch.randn(3, 5))
        loss.v.copy_(torch.randn(5))
    h = student.detach().softmax(1)
    logits = torch.stack([(loss.v * loss.theta[m] * h).sum(1) for m in range(3)], 1)
    mixed = sum(logits.softmax(1)[:, m, None] * F.softmax(teachers[m] / 2, 1) for m in range(3))
    by_hand = 4 * (mixed * (mixed.log() - F.log_softmax(student / 2, 1))).sum(1)
    value = loss(student, teachers)
    assert torch.allclose(value, by_hand, atol=1e-6)
    parameters = [student, loss.theta, loss.v]
    for ours, theirs in zip(
        torch.autograd.grad(value.sum(), parameters, retain_graph=True),
        torch.autograd.grad(by_hand.sum(), parameters),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=1e-5)
        assert ours.abs().max() > 1e-4


def test_begins_near_the_mean_of_the_probabilities():
    torch.manual_seed(0)
    student, teachers = torch.randn(6, 5), torch.randn(3, 6, 5)
    loss = AMTML()
    loss.build(student, list(teachers), 20)
    assert torch.allclose(loss.shares(student), torch.tensor(1 / 3), atol=0.01)
