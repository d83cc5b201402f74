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


def test_the_drawn_teachers_teach_alike_and_nobody_where_none_is_drawn():
    student, teachers, targets = batch()
    loss = built(student, teachers)
    torch.manual_seed(1)
    value = loss(student, teachers, targets=targets)["kd"]
    torch.manual_seed(1)
    chances = torch.rand(3, 6)
    counts = []
    for i in range(6):
        chosen = []
        for m, t in enumerate(teachers):
            error = F.cross_entropy(t[i], targets[i])
            state = torch.cat([t[i].softmax(0), error[None], student[i].detach().softmax(0), torch.ones(1)])
            if chances[m, i] < torch.sigmoid(loss.w[m] @ state):
                p, q = (t[i] / 2).softmax(0), (student[i] / 2).softmax(0)
                chosen.append(4 * (p * (p / q).log()).sum())
        counts.append(len(chosen))
        by_hand = sum(chosen) / len(chosen) if chosen else torch.tensor(0.0)
        assert torch.allclose(value[i], by_hand, atol=1e-5)
    assert len(set(counts)) > 1


def test_the_policy_gets_reinforces_gradient_from_the_next_batchs_reward():
    first, teachers, targets = batch()
    loss = built(first, teachers)
    torch.manual_seed(2)
    said = loss(first, teachers, targets=targets)
    assert torch.autograd.grad(said["policy"], loss.w)[0].abs().max() == 0  # nothing was drawn before
    baseline = -F.cross_entropy(first, targets).detach()
    torch.manual_seed(2)
    w = loss.w.detach().clone().requires_grad_()
    states = loss.states(first, torch.stack(teachers), targets)
    pi = torch.sigmoid((w[:, None] * states).sum(2))
    drawn = torch.rand(3, 6) < pi
    chance = torch.where(drawn, pi, 1 - pi).log().sum() / 6

    student, teachers, targets = batch()
    said = loss(student, teachers, targets=targets)
    reward = -F.cross_entropy(student, targets).detach() - baseline
    (by_hand,) = torch.autograd.grad(-reward * chance, w)
    (ours,) = torch.autograd.grad(said["policy"], loss.w, retain_graph=True)
    assert said["policy"] == 0
    assert torch.allclose(ours, by_hand, atol=1e-6)
    assert ours.abs().max() > 1e-4
    assert torch.autograd.grad(said["kd"].sum(), loss.w, allow_unused=True) == (None,)
    assert torch.allclose(loss.baseline, 0.9 * baseline - 0.1 * F.cross_entropy(student, targets))


def test_a_teacher_whose_draws_pay_is_drawn_more_often():
    """A game whose reward is told: the student is right on the next batch if teacher 0 was drawn alone."""
    teachers = [torch.zeros(64, 2)] * 2
    targets = torch.zeros(64, dtype=torch.int64)
    loss = RLMTKD()
    loss.build(torch.zeros(64, 2), teachers, 64)
    optimizer = torch.optim.SGD([loss.w], lr=5.0)
    logits = torch.zeros(64, 2)
    for _ in range(300):
        said = loss(logits, teachers, targets=targets)
        optimizer.zero_grad()
        said["policy"].backward()
        optimizer.step()
        paid = loss.before[0, -1] - loss.before[1, -1]  # more of the first and fewer of the second than chance has
        logits = torch.stack([paid * 20, torch.zeros(())]).expand(64, 2)
    states = loss.states(torch.zeros(64, 2), torch.stack(teachers), targets)
    first, second = torch.einsum("mf,mbf->mb", loss.w, states).sigmoid().mean(1).tolist()
    assert first > 0.7
    assert second < 0.3


def test_evaluation_remembers_nothing():
    student, teachers, targets = batch()
    loss = built(student, teachers).eval()
    loss(student, teachers, targets=targets)
    assert loss.before.abs().max() == loss.seen == 0
