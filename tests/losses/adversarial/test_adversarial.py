"""Losses of attacked students, against slow readings, and the attack."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.adversarial.attack import perturb
from tutelage.losses.adversarial.iad import IAD
from tutelage.losses.adversarial.rslad import RSLAD, AdaAD
from tutelage.verify.references import adversarial
from tutelage.verify.vector import read

B, C = 4, 5
VECTORS = Path(__file__).parents[2] / "vectors"


def softmax(z: Tensor, temperature: float = 1.0) -> list[float]:
    e = [math.exp(x / temperature) for x in z.tolist()]
    return [x / sum(e) for x in e]


def kl(t: Tensor, s: Tensor, temperature: float = 1.0, eps: float = 0.0) -> float:
    p, q = softmax(t, temperature), softmax(s, temperature)
    return sum(a * (math.log(a + eps) - math.log(b)) for a, b in zip(p, q, strict=True))


def random_logits() -> list[Tensor]:
    return [2 * torch.randn(B, C).double() for _ in range(4)]


@pytest.mark.parametrize(("adversarial", "natural", "eps"), [(5 / 6, 1 / 6, 0.0), (0.3, 2.0, 1e-2)])
def test_rslad(adversarial: float, natural: float, eps: float) -> None:
    s, t, clean, _ = random_logits()
    parts = RSLAD(adversarial, natural, eps)(s, t, student_clean=clean)
    for b in range(B):
        assert parts["adversarial"][b].item() == pytest.approx(adversarial * kl(t[b], s[b], eps=eps), rel=1e-9)
        assert parts["natural"][b].item() == pytest.approx(natural * kl(t[b], clean[b], eps=eps), rel=1e-9)


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_adaad(alpha: float) -> None:
    s, t, clean, t_adv = random_logits()
    parts = AdaAD(alpha)(s, t, student_clean=clean, teacher_adversarial=t_adv)
    for b in range(B):
        assert parts["adversarial"][b].item() == pytest.approx(alpha * kl(t_adv[b], s[b]), rel=1e-9)
        assert parts["natural"][b].item() == pytest.approx((1 - alpha) * kl(t[b], clean[b]), rel=1e-9)


@pytest.mark.parametrize("weigh", [True, False])
@pytest.mark.parametrize("attacked", [True, False])
@pytest.mark.parametrize(("temperature", "beta", "gamma"), [(1.0, 0.1, 1.0), (3.0, 0.7, 9.0)])
def test_iad(temperature: float, beta: float, gamma: float, weigh: bool, attacked: bool) -> None:
    s, t, clean, t_adv = random_logits()
    y = torch.randint(C, (B,))
    loss = IAD(temperature, beta, gamma, weigh_teacher=weigh, adversarial=attacked)
    parts = loss(s, t, student_clean=clean, teacher_adversarial=t_adv, targets=y)
    for b in range(B):
        w = softmax(t_adv[b])[int(y[b])] ** beta
        teacher_kl = temperature**2 * kl(t_adv[b] if attacked else t[b], s[b], temperature)
        assert parts["teacher"][b].item() == pytest.approx((w if weigh else 1) * teacher_kl, rel=1e-9)
        assert parts["self"][b].item() == pytest.approx(gamma * (1 - w) * kl(clean[b], s[b]), rel=1e-9)


def test_iad_trusts_the_teacher_until_it_begins() -> None:
    s, t, clean, t_adv = random_logits()
    inputs = {"student_clean": clean, "teacher_adversarial": t_adv, "targets": torch.randint(C, (B,))}
    early, late = IAD(begin=60)(s, t, **inputs, epoch=59.9), IAD(begin=60)(s, t, **inputs, epoch=60.0)
    assert early["self"].abs().max() == 0
    assert early["teacher"].tolist() == pytest.approx([kl(t[b], s[b]) for b in range(B)])
    assert late["self"].min() > 0
    assert (late["teacher"] < early["teacher"]).all()


@pytest.mark.parametrize(("method", "through_teacher"), [("rslad_attack", False), ("adaad", True)])
def test_the_attack_finds_the_published_inputs(method: str, through_teacher: bool) -> None:
    vector = read(VECTORS / f"{method}__case0.json")
    student, teacher = adversarial.models(vector)
    image, hyper, expected = vector.inputs["extra.image"], vector.hyper, vector.parts["x_adv"]
    moved = perturb(
        image,
        lambda x: F.kl_div(
            F.log_softmax(student(x), 1), F.softmax(teacher(x if through_teacher else image), 1), reduction="batchmean"
        ),
        start=image + 0.001 * vector.inputs["extra.noise"],
        steps=hyper["steps"],
        step_size=hyper["step_size"],
        radius=hyper["epsilon"],
    )
    published = torch.tensor(expected["data"], dtype=torch.float64).reshape(expected["shape"])
    torch.testing.assert_close(moved, published, rtol=0, atol=1e-9)


def test_the_attack_stays_in_the_box_climbs_and_leaves_no_trace() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, C))
    images, labels = torch.rand(B, 3, 2, 2), torch.randint(C, (B,))
    radius = torch.tensor([0.02, 0.1, 0.3]).view(3, 1, 1)
    before = images.clone()

    def objective(x: Tensor) -> Tensor:
        return F.cross_entropy(model(x), labels, reduction="none")

    with torch.no_grad():
        moved = perturb(images, objective, radius=radius, step_size=radius / 4, low=0.1, high=0.9)
        assert (objective(moved) > objective(images)).all()
    assert ((moved - images).abs() <= torch.maximum(radius, torch.tensor(0.1)) + 1e-6).all()
    assert moved.min() >= 0.1
    assert moved.max() <= 0.9
    assert not moved.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(images, before)


def test_the_attack_without_steps_is_its_start() -> None:
    images = torch.rand(B, 3)
    assert torch.equal(perturb(images, torch.sum, start=images, steps=0), images)
    assert 0 < (perturb(images, torch.sum, steps=0) - images).abs().max() < 0.01


def test_refusals() -> None:
    images = torch.rand(B, 3)
    with pytest.raises(ConfigError, match="0 or more"):
        perturb(images, torch.sum, steps=-1)
    with pytest.raises(ConfigError, match="shape"):
        perturb(images, torch.sum, start=images[:1])
    with pytest.raises(ConfigError, match="0 or more"):
        RSLAD(adv_weight=-1.0)
    with pytest.raises(ConfigError, match="1 or less"):
        AdaAD(1.5)
    with pytest.raises(ConfigError, match="above 0"):
        IAD(0.0)
    s, t, clean, _ = random_logits()
    with pytest.raises(ConfigError, match="equal shapes"):
        RSLAD()(s, t[:, :3], student_clean=clean)
    with pytest.raises(ConfigError, match="equal shapes"):
        RSLAD()(s, t, student_clean=clean[:2])
