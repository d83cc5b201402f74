"""Meta-learned sample weights: their gradient by hand, and what their turn doesn't change."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from schemes.test_lookahead import parted
from small import digest, fit, net
from torch import Tensor, nn

import tutelage
from tutelage.errors import ConfigError, ModelError
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.losses.response.tgeo_kd import TGeoKD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.bilevel import Bilevel
from tutelage.schemes.lookahead import MetaBatches
from tutelage.tasks.classification import Classification
from tutelage.teachers.frozen import Frozen

RATE = 0.2


def bilevel(student=None, teacher=None, method=None, quiz=None, **options) -> Bilevel:
    player = Player(student or net("cnn2", 2), Terms.from_method(method or TGeoKD(hidden=3)), Classification())
    frozen = Frozen(teacher or net("cnn4", 1), Classification())
    return Bilevel(player, frozen, quiz or MetaBatches(parted()[1], 16), lambda step: RATE, **options)


def wired(**options):
    scheme, batch = bilevel(**options), next(parted()[0].batches("train", 8))
    scheme.wire(batch, 48)
    return scheme.train(), batch


def share(learned: list[Tensor], s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Compute the a of the formula in another way."""
    w1, b1, w2, b2 = learned
    p, q, g = s.detach().softmax(1), t.softmax(1), F.one_hot(y, 10).to(s)
    means = torch.stack([q[y == c].mean(0) if (y == c).any() else 0 * q[0] for c in range(10)])[y]
    sides = torch.cat([p - g, q - g, p - q, means - g, p - means], 1)
    return torch.sigmoid((sides @ w1.T + b1).relu() @ w2.T + b2)[:, 0]


def test_the_lesson_is_the_error_a_step_later_and_its_gradient_that_of_finite_differences():
    torch.manual_seed(1)
    batch, held = (next(data.batches("train", 6)) for data in parted())
    batch, quiz = (replace(b, inputs=b.inputs.double()) for b in (batch, held))
    student, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double() for _ in range(2))
    scheme = bilevel(student, teacher, quiz=SimpleNamespace(batch=lambda step, like: quiz))
    scheme.wire(batch, 48)
    learned = list(scheme.players["policies"].learned)
    with torch.no_grad():
        for p in learned:
            p.add_(0.3 * torch.randn_like(p))

    def by_hand() -> float:
        x, y = batch.inputs.flatten(1), batch.targets
        w, b = (p.detach().requires_grad_() for p in student[1].parameters())
        s, t = x @ w.T + b, teacher(batch.inputs).detach()
        a = share([p.detach() for p in learned], s, t, y)
        kl = 16 * F.kl_div((s / 4).log_softmax(1), (t / 4).softmax(1), reduction="none").sum(1)
        loss = (a * kl + (1 - a) * F.cross_entropy(s, y, reduction="none")).mean()
        dw, db = torch.autograd.grad(loss, (w, b))
        return F.cross_entropy(quiz.inputs.flatten(1) @ (w - RATE * dw).T + b - RATE * db, quiz.targets).item()

    name, losses = next(scheme.turns(batch, 0))
    assert (name, list(losses)) == ("policies", ["quiz"])
    assert losses["quiz"].item() == pytest.approx(by_hand(), rel=1e-9)
    losses["quiz"].backward()
    for seed in range(3):
        torch.manual_seed(seed)
        directions = [torch.randn_like(p) for p in learned]
        ends = []
        for sign in (1e-6, -2e-6):
            with torch.no_grad():
                for p, d in zip(learned, directions, strict=True):
                    p.add_(sign * d)
            ends.append(by_hand())
        with torch.no_grad():
            for p, d in zip(learned, directions, strict=True):
                p.add_(1e-6 * d)
        slope = sum((p.grad * d).sum() for p, d in zip(learned, directions, strict=True)).item()
        assert abs(slope) > 1e-7
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4)


def test_each_turn_teaches_its_own_and_the_student_goes_by_what_was_just_learned():
    scheme, batch = wired()
    student, policies = scheme.players["student"], scheme.players["policies"]
    policy_parameters = [p for name, p in student.named_parameters() if "ratio" in name]
    assert len(policy_parameters) == len(policies.learned) == 4
    before, turns = digest(student), scheme.turns(batch, 0)
    next(turns)[1]["quiz"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in policies.parameters())
    assert all(p.grad is None for p in student.parameters())
    assert digest(student) == before
    with torch.no_grad():
        for p in policies.parameters():
            p.grad = None
            p.add_(0.1 * torch.randn_like(p))
    expected = copy.deepcopy(student)
    with torch.no_grad():
        for p, q in zip([p for n, p in expected.named_parameters() if "ratio" in n], policies.learned, strict=True):
            p.copy_(q)
    expected_losses = expected(batch, scheme.teacher(batch, scheme.layers))
    name, losses = next(turns)
    assert name == "student"
    assert all(torch.equal(losses[term], expected_losses[term]) for term in expected_losses)
    sum(losses.values()).backward()
    assert all(p.grad is None for p in [*policy_parameters, *policies.parameters()])
    assert all(p.grad is not None for p in student.student.parameters())
    assert next(turns, None) is None


def test_policies_that_learn_nothing_stay_as_they_begin():
    rest, held = parted()
    still, moved = (bilevel(quiz=MetaBatches(held, 16), meta_lr=rate) for rate in (0.0, 0.05))
    for scheme in (still, moved):
        torch.manual_seed(3)
        fit(scheme, rest, epochs=2)
    begun, ended = (list(scheme.players["policies"].learned) for scheme in (still, moved))
    assert all(torch.equal(p, q) for p, q in zip(still._policy_parameters().values(), begun, strict=True))
    assert not any(torch.equal(p, q) for p, q in zip(begun, ended, strict=True))


def test_the_policy_goes_with_other_losses(tmp_path):
    method = [{"name": "ce"}, {"name": "dkd", "samples": {"name": "geometry"}}]
    small = {"epochs": 1, "limit": 60, "batch_size": 20, "teacher_epochs": 0, "baseline": False, "device": "cpu"}
    run = tutelage.distill(scheme="bilevel", method=method, out=str(tmp_path / "run"), **small)
    assert tutelage.load(run.folder).state_dict().keys() == net("cnn2").state_dict().keys()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="the method has no learned sample policy"):
        wired(method=CE() + 1.0 * KD())
    with pytest.raises(ConfigError, match="meta_lr=-1"):
        bilevel(meta_lr=-1)


def test_a_layer_that_cannot_be_differentiated_twice_is_named():
    class Gradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise NotImplementedError("derivative for aten::odd_backward is not implemented")

    class Same(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return Gradient.apply(gradient)

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer1, self.fc = nn.Linear(64, 8), nn.Linear(8, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(Same.apply(self.layer1(x.flatten(1))))

    with pytest.raises(ModelError, match=r"aten::odd_backward .* no second derivative; use another student"):
        wired(student=Odd())
