"""Teachers drawn by a policy."""

import torch
import torch.nn.functional as F

from tutelage.losses.multi_teacher.rl_mtkd import RLMTKD


def built(student, teachers) -> RLMTKD:
    loss = RLMTKD(temperature=2.0)
    loss.build(student, teachers, 20)
    with torch.no_grad():
        loss.w.normal_()
    return loss


def batch():
    return torch.randn(6, 5, requires_grad=True), [torch.randn(6, 5) for _ in range(3)], torch.randint(5, (6,))


def test_the_drawn_teachers_have_equal_weights_and_the_loss_is_zero_without_any():
    student, teachers, targets = batch()
    loss = built(student, teachers)
    torch.manual_seed(1)
    value = loss(student, teachers, targets=targets)["kd"]
    torch.manual_seed(1)
    uniform = torch.rand(3, 6)
    counts = []
    for i in range(6):
        divergences = []
        for m, t in enumerate(teachers):
            error = F.cross_entropy(t[i], targets[i])
            state = torch.cat([t[i].softmax(0), error[None], student[i].detach().softmax(0), torch.ones(1)])
            if uniform[m, i] < torch.sigmoid(loss.w[m] @ state):
                p, q = (t[i] / 2).softmax(0), (student[i] / 2).softmax(0)
                divergences.append(4 * (p * (p / q).log()).sum())
        counts.append(len(divergences))
        by_hand = sum(divergences) / len(divergences) if divergences else torch.tensor(0.0)
        assert torch.allclose(value[i], by_hand, atol=1e-5)
    assert len(set(counts)) > 1


def test_the_policy_gets_reinforces_gradient_from_the_next_batchs_reward():
    first, teachers, targets = batch()
    loss = built(first, teachers)
    torch.manual_seed(2)
    losses = loss(first, teachers, targets=targets)
    assert torch.autograd.grad(losses["policy"], loss.w)[0].abs().max() == 0  # there was no earlier batch
    baseline = -F.cross_entropy(first, targets).detach()
    torch.manual_seed(2)
    w = loss.w.detach().clone().requires_grad_()
    states = loss.states(first, torch.stack(teachers), targets)
    pi = torch.sigmoid((w[:, None] * states).sum(2))
    drawn = torch.rand(3, 6) < pi
    chance = torch.where(drawn, pi, 1 - pi).log().sum() / 6

    student, teachers, targets = batch()
    losses = loss(student, teachers, targets=targets)
    reward = -F.cross_entropy(student, targets).detach() - baseline
    (by_hand,) = torch.autograd.grad(-reward * chance, w)
    (gradient,) = torch.autograd.grad(losses["policy"], loss.w, retain_graph=True)
    assert losses["policy"] == 0
    assert torch.allclose(gradient, by_hand, atol=1e-6)
    assert gradient.abs().max() > 1e-4
    assert torch.autograd.grad(losses["kd"].sum(), loss.w, allow_unused=True) == (None,)
    assert torch.allclose(loss.baseline, 0.9 * baseline - 0.1 * F.cross_entropy(student, targets))


def test_a_teacher_whose_draws_pay_is_drawn_more_often():
    """A game of known reward: the student is right on the next batch if only teacher 0 was drawn."""
    teachers = [torch.zeros(64, 2)] * 2
    targets = torch.zeros(64, dtype=torch.int64)
    loss = RLMTKD()
    loss.build(torch.zeros(64, 2), teachers, 64)
    optimizer = torch.optim.SGD([loss.w], lr=5.0)
    logits = torch.zeros(64, 2)
    for _ in range(300):
        losses = loss(logits, teachers, targets=targets)
        optimizer.zero_grad()
        losses["policy"].backward()
        optimizer.step()
        payoff = loss.before[0, -1] - loss.before[1, -1]  # the first drawn more, the second less than expected
        logits = torch.stack([payoff * 20, torch.zeros(())]).expand(64, 2)
    states = loss.states(torch.zeros(64, 2), torch.stack(teachers), targets)
    first, second = torch.einsum("mf,mbf->mb", loss.w, states).sigmoid().mean(1).tolist()
    assert first > 0.7
    assert second < 0.3


def test_evaluation_stores_nothing():
    student, teachers, targets = batch()
    loss = built(student, teachers).eval()
    loss(student, teachers, targets=targets)
    assert loss.before.abs().max() == loss.seen == 0
