"""Losses of peers that learn together, against plain implementations."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.losses.online.dcm import DCM
from tutelage.losses.online.dml import DML, DMLJoint
from tutelage.losses.online.ffl import FFL
from tutelage.losses.online.kdcl import KDCL, generalisation_weights, linear_mix
from tutelage.losses.online.okddip import OKDDip
from tutelage.losses.online.one import ONE

M, B, C = 3, 4, 5


def softmax(z: Iterable[float], temperature: float = 1.0) -> list[float]:
    e = [math.exp(x / temperature) for x in z]
    return [x / sum(e) for x in e]


def ce(z: Tensor, y: Tensor) -> float:
    return -math.log(softmax(z.tolist())[int(y)])


def kl(s: Tensor, t: Tensor, temperature: float, eps: float) -> float:
    p, q = [x + eps for x in softmax(t.tolist(), temperature)], softmax(s.tolist(), temperature)
    return temperature**2 * sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


def group() -> tuple[Tensor, Tensor]:
    return torch.randn(M, B, C).double() * 2, torch.randint(C, (B,))


def check(parts: dict[str, Tensor], name: str, expected: list[float]) -> None:
    assert parts[name].tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("eps", [0.0, 1e-2])
def test_dml(eps: float) -> None:
    z, _ = group()
    values = DML(eps)(z[0], z[1:])
    for j in range(M - 1):
        for b in range(B):
            student, peer = softmax(z[0, b].tolist()), softmax(z[1 + j, b].tolist())
            expected = sum(q * math.log(eps + q / (p + eps)) for p, q in zip(student, peer, strict=True))
            assert values[j, b].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("temperature", "pairwise", "eps"), [(3.0, True, 0.0), (1.0, False, 1e-3)])
def test_dml_joint(temperature: float, pairwise: bool, eps: float) -> None:
    z, y = group()
    parts = DMLJoint(temperature, pairwise, eps)(z, targets=y)
    peers = []
    for b in range(B):
        total = 0.0
        for i in range(M):
            others = [z[j, b] for j in range(M) if j != i]
            targets = others if pairwise else [sum(others, torch.zeros(C)) / len(others)]
            total += sum(kl(z[i, b], t, temperature, eps) for t in targets) / len(targets)
        peers.append(total)
    check(parts, "peers", peers)
    check(parts, "truth", [sum(ce(z[m, b], y[b]) for m in range(M)) for b in range(B)])


@pytest.mark.parametrize(("variant", "temperature", "strength"), [("minlogit", 2.0, 1.0), ("naive", 3.0, 0.5)])
def test_kdcl(variant: str, temperature: float, strength: float) -> None:
    z, y = group()
    parts = KDCL(variant, temperature, strength)(z, targets=y)  # type: ignore[arg-type]
    expected = []
    for b in range(B):
        if variant == "naive":
            best = min((z[m, b] for m in range(M)), key=lambda logits, b=b: ce(logits, y[b]))  # type: ignore[misc]
        else:
            best = torch.stack([z[m, b] - z[m, b, y[b]] for m in range(M)]).min(0).values
        expected.append(strength * sum(kl(z[m, b], best, temperature, 0.0) for m in range(M)))
    check(parts, "ensemble", expected)
    check(parts, "truth", [sum(ce(z[m, b], y[b]) for m in range(M)) for b in range(B)])


@pytest.mark.parametrize("peers", [2, 3])
@pytest.mark.parametrize("scale", [0.2, 4.0])
def test_the_linear_mix_has_the_smallest_loss_on_a_grid(peers: int, scale: float) -> None:
    z, y = torch.randn(peers, 40, C).double() * scale, torch.randint(C, (40,))
    values = torch.nn.functional.cross_entropy(linear_mix(z, y), y, reduction="none")
    steps = range(0, 41, 2)
    grid = [(i, j) for i in steps for j in steps if i + j <= 40]
    mixes = [[i / 40, j / 40, 1 - (i + j) / 40] for i, j in grid if peers == 3 or i + j == 40]
    for weights in mixes:
        mixed = sum(w * logits for w, logits in zip(weights, z, strict=False))
        assert (values <= torch.nn.functional.cross_entropy(mixed, y, reduction="none") + 0.02).all()  # type: ignore[arg-type]
    assert (values >= 0).all()


def test_the_general_weights_have_the_least_square_error_of_weights_that_sum_to_1() -> None:
    errors = torch.randn(M, 50).double()
    weights = generalisation_weights(errors).double()
    assert weights.sum().item() == pytest.approx(1, abs=1e-6)
    least = (weights @ errors).square().mean()
    for _ in range(20):
        step = torch.randn(M).double()
        assert ((weights + 0.01 * (step - step.mean())) @ errors).square().mean() >= least - 1e-9
    torch.testing.assert_close(generalisation_weights(errors[:1].expand(2, 50)), torch.tensor([0.5, 0.5]))


def test_kdcl_general_matches_the_weighted_mix() -> None:
    z, y = group()
    weights = torch.tensor([0.5, 0.75, -0.25]).double()
    parts = KDCL("general")(z, targets=y, peer_weights=weights)
    mixed = sum(w * logits for w, logits in zip(weights, z, strict=True))
    check(parts, "ensemble", [sum(kl(z[m, b], mixed[b], 2.0, 0.0) for m in range(M)) for b in range(B)])  # type: ignore[index]


@pytest.mark.parametrize(("temperature", "weight", "eps"), [(3.0, 1.0, 0.0), (1.5, 0.3, 1e-3)])
def test_one(temperature: float, weight: float, eps: float) -> None:
    z, y = group()
    ensemble = torch.randn(B, C).double().requires_grad_()
    parts = ONE(temperature, weight, eps)(z.requires_grad_(), ensemble, targets=y)
    target = ensemble.detach()
    check(
        parts, "ensemble", [weight * sum(kl(z[m, b], target[b], temperature, eps) for m in range(M)) for b in range(B)]
    )
    check(parts, "truth", [sum(ce(z[m, b], y[b]) for m in range(M)) + ce(target[b], y[b]) for b in range(B)])
    assert torch.autograd.grad(parts["ensemble"].sum(), [ensemble], allow_unused=True) == (None,)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (2.0, 3.0, 5.0, 1.5)])
@pytest.mark.parametrize("classifiers", [1, 2, 3, 4])
def test_dcm(weights: tuple[float, float, float, float], classifiers: int) -> None:
    alpha, beta, gamma, temperature = weights
    z, y = group()
    teacher = torch.randn(classifiers, B, C).double().requires_grad_()
    parts = DCM(alpha, beta, gamma, temperature)(z.requires_grad_(), teacher, targets=y)
    check(parts, "truth", [ce(z[-1, b], y[b]) for b in range(B)])
    check(parts, "shallow", [alpha * sum(ce(z[m, b], y[b]) for m in range(M - 1)) for b in range(B)])
    for b in range(B):
        each = {(q, r): kl(z[q, b], teacher[r, b], temperature, 0.0) for q in range(M) for r in range(classifiers)}
        same = sum(value for (q, r), value in each.items() if M - q == classifiers - r)
        assert parts["same"][b].item() == pytest.approx(beta * same, rel=1e-9)
        assert parts["cross"][b].item() == pytest.approx(gamma * (sum(each.values()) - same), rel=1e-9, abs=1e-12)
    total = torch.stack(list(parts.values())).sum()
    assert torch.autograd.grad(total, [teacher], allow_unused=True) == (None,)


def test_dcm_may_smooth_both_sides() -> None:
    z, y = group()
    teacher, eps = torch.randn(M, B, C).double(), 0.01
    parts = DCM(eps=eps)(z, teacher, targets=y)
    p, q = ((x.softmax(2) + eps) / (1 + C * eps) for x in (z, teacher))
    divergences = torch.stack([(t * (t / s).log()).sum(1) for s in p for t in q]).reshape(M, M, B)
    torch.testing.assert_close(parts["same"] + parts["cross"], divergences.sum((0, 1)))
    with pytest.raises(ConfigError, match="eps=-1"):
        DCM(eps=-1)


@pytest.mark.parametrize(("temperature", "weight", "eps"), [(3.0, 1.0, 0.0), (1.5, 0.3, 1e-3)])
def test_ffl(temperature: float, weight: float, eps: float) -> None:
    z, y = group()
    fused = torch.randn(B, C).double().requires_grad_()
    parts = FFL(temperature, weight, eps)(z.requires_grad_(), fused, targets=y)
    target = fused.detach()
    check(parts, "truth", [sum(ce(logits, y[b]) for logits in (target[b], *z[:, b])) for b in range(B)])
    check(parts, "fused", [weight * sum(kl(z[m, b], target[b], temperature, eps) for m in range(M)) for b in range(B)])
    check(parts, "ensemble", [weight * kl(target[b], z[:, b].mean(0), temperature, eps) for b in range(B)])
    for part, student, teacher in (("fused", z, fused), ("ensemble", fused, z)):
        student_grad, teacher_grad = torch.autograd.grad(parts[part].sum(), [student, teacher], allow_unused=True)
        assert student_grad.abs().sum() > 0
        assert teacher_grad is None


@pytest.mark.parametrize(("temperature", "alpha", "eps"), [(3.0, 1.0, 0.0), (1.5, 0.3, 1e-3)])
def test_okddip(temperature: float, alpha: float, eps: float) -> None:
    z, y = group()
    leader, query, key = torch.randn(B, C).double(), torch.randn(B, M, 2).double(), torch.randn(B, M, 2).double()
    parts = OKDDip(temperature, alpha, eps)(leader, z, query=query, key=key, targets=y)
    expected = []
    for b in range(B):
        total = kl(leader[b], z[:, b].mean(0), temperature, eps)
        for i in range(M):
            attention = softmax(float(query[b, i] @ key[b, j]) for j in range(M))
            mixed = sum((a * z[j, b] for j, a in enumerate(attention)), torch.zeros(C))
            total += kl(z[i, b], mixed, temperature, eps)
        expected.append(alpha * total)
    check(parts, "group", expected)
    check(parts, "truth", [sum(ce(logits, y[b]) for logits in (leader[b], *z[:, b])) for b in range(B)])


@pytest.mark.parametrize("loss", [DMLJoint(), KDCL()])
def test_a_list_of_peers_equals_a_stack(loss: Loss) -> None:
    z, y = group()
    assert isinstance(loss(z, targets=y), dict)
    torch.testing.assert_close(loss(list(z), targets=y), loss(z, targets=y))


def test_raises_for_a_single_peer_and_an_unknown_variant() -> None:
    with pytest.raises(ConfigError, match="got 1 of shape"):
        DMLJoint()(torch.randn(1, B, C), targets=torch.zeros(B, dtype=torch.long))
    with pytest.raises(ConfigError, match="variant='best'"):
        KDCL("best")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="requires peer_weights"):
        KDCL("general")(torch.randn(2, B, C), targets=torch.zeros(B, dtype=torch.long))
    with pytest.raises(ConfigError, match=r"\(4, 5\) and the teacher's is \(4, 1\)"):
        DML()(torch.randn(B, C), [torch.randn(B, 1)])
