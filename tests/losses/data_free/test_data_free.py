"""Losses that optimise images, and losses of students trained on them, against slow readings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.data_free.adi import ADI, JensenShannon
from tutelage.losses.data_free.cmi import CMIAdversarial, CMIContrast
from tutelage.losses.data_free.dafl import DAFL
from tutelage.losses.data_free.deepinversion import DeepInversionBN, TotalVariation
from tutelage.losses.data_free.dfad import DFAD

B, C = 4, 5


def softmax(z: Tensor, temperature: float = 1.0) -> np.ndarray:
    e = np.exp(z.numpy() / temperature)
    return e / e.sum()


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float((p * np.log(p / q)).sum())


def logits_pair() -> tuple[Tensor, Tensor]:
    return 3 * torch.randn(B, C).double(), 3 * torch.randn(B, C).double()


@pytest.mark.parametrize("first", [1.0, 10.0])
def test_deepinversion_bn(first: float) -> None:
    layers = [torch.randn(B, 3, 2, 2).double(), torch.randn(B, 4).double()]
    means, variances = ([torch.rand(c).double() for c in (3, 4)] for _ in range(2))
    parts = DeepInversionBN(first)(layers, means=means, variances=variances)
    mean = variance = 0.0
    for layer, feature in enumerate(layers):
        off_mean = off_variance = 0.0
        for c in range(feature.shape[1]):
            x = feature[:, c].numpy()
            off_mean += (x.mean() - means[layer][c].item()) ** 2
            off_variance += (((x - x.mean()) ** 2).mean() - variances[layer][c].item()) ** 2
        weight = first if layer == 0 else 1.0
        mean, variance = mean + weight * off_mean**0.5, variance + weight * off_variance**0.5
    assert parts["mean"].item() == pytest.approx(mean, rel=1e-9)
    assert parts["variance"].item() == pytest.approx(variance, rel=1e-9)


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 1e-4), (0.5, 2.0)])
def test_total_variation(l1: float, l2: float) -> None:
    x = torch.randn(2, 3, 3, 4).double()
    parts = TotalVariation(l1, l2)(x)
    absolute = square = 0.0
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        d = [
            float(x[b, c, i + dy, j + dx] - x[b, c, i, j])
            for b in range(2)
            for c in range(3)
            for i in range(3 - dy)
            for j in range(4)
            if 0 <= j + dx < 4
        ]
        absolute += sum(abs(v) for v in d) / len(d)
        square += math.sqrt(sum(v * v for v in d))
    assert parts["l1"].item() == pytest.approx(l1 * absolute, rel=1e-9)
    assert parts["l2"].item() == pytest.approx(l2 * square, rel=1e-9)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("temperature", "floor"), [(1.0, 0.0), (3.0, 0.05)])
def test_jensen_shannon_and_adi(temperature: float, reverse: bool, floor: float) -> None:
    s, t = logits_pair()
    expected = []
    for b in range(B):
        p, q = softmax(s[b], temperature), softmax(t[b], temperature)
        p, q, m = (np.clip(x, floor, 1 - floor) for x in (p, q, (p + q) / 2))
        expected.append((kl(m, p) + kl(m, q)) / 2 if reverse else (kl(p, m) + kl(q, m)) / 2)
    assert JensenShannon(temperature, reverse, floor)(s, t).tolist() == pytest.approx(expected, rel=1e-9)
    adi = ADI(temperature, reverse, floor)(s, t)
    assert adi.item() == pytest.approx(1 - min(max(sum(expected) / B, 0), 1), rel=1e-9)


def test_jensen_shannon_is_at_most_log_2() -> None:
    s, t = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
    assert JensenShannon()(s, t).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(("one_hot", "balance", "activation"), [(1.0, 5.0, 0.1), (0.5, 20.0, 1e-3)])
def test_dafl(one_hot: float, balance: float, activation: float) -> None:
    logits, feature = logits_pair()
    parts = DAFL(one_hot, balance, activation)([logits, feature])
    p = np.stack([softmax(z) for z in logits])
    sure = [-one_hot * math.log(row.max()) for row in p]
    assert parts["one_hot"].tolist() == pytest.approx(sure, rel=1e-9)
    assert parts["balance"].item() == pytest.approx(balance * float((p.mean(0) * np.log(p.mean(0))).sum()), rel=1e-9)
    assert parts["activation"].mean().item() == pytest.approx(-activation * np.abs(feature.numpy()).mean(), rel=1e-9)


def test_dafl_gradient_of_a_class_that_never_comes() -> None:
    logits = torch.tensor([[1e4, 0.0, 0.0]], requires_grad=True)
    DAFL()([logits, torch.ones(1, 2)])["balance"].backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_dfad() -> None:
    s, t = logits_pair()
    np.testing.assert_allclose(DFAD()(s, t).numpy(), np.abs(s.numpy() - t.numpy()))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_cmi_adversarial(temperature: float) -> None:
    s, t = logits_pair()
    s[0], t[1] = t[0] / 2, s[1] / 2  # these agree
    s[2], t[2] = t[2].roll(1), t[2].clone()  # these don't
    values = CMIAdversarial(temperature)(s, t)
    for b in range(B):
        agree = int(s[b].argmax()) == int(t[b].argmax())
        divergence = temperature**2 * kl(softmax(t[b], temperature), softmax(s[b], temperature))
        assert values[b].item() == pytest.approx(divergence if agree else 0.0, rel=1e-9)
    assert values[0] > 0
    assert values[2] == 0


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("bank", [0, 3])
def test_cmi_contrast(temperature: float, bank: int) -> None:
    sizes = [B, bank] if bank else [B]
    sides = [[F.normalize(torch.randn(n, 6).double(), dim=1) for n in sizes] for _ in range(2)]
    parts = CMIContrast(temperature)(*sides)
    assert [len(x) for x in parts.values()] == sizes
    local, every = torch.cat(sides[0]).numpy(), torch.cat(sides[1]).numpy()
    values = torch.cat(list(parts.values()))
    for i, u in enumerate(local):
        scores = np.exp([u @ v / temperature for v in every])
        assert values[i].item() == pytest.approx(-math.log(scores[i] / scores.sum()), rel=1e-9)


def test_cmi_contrast_target_is_a_constant() -> None:
    local, every = torch.randn(B, 6, requires_grad=True), torch.randn(B, 6, requires_grad=True)
    CMIContrast()([local], [every])["batch"].mean().backward()
    assert every.grad is None
    assert local.grad is not None


def test_refusals() -> None:
    s, t = logits_pair()
    with pytest.raises(ConfigError, match="the same number of each"):
        DeepInversionBN()([s], means=[], variances=[])
    with pytest.raises(ConfigError, match="2×2"):
        TotalVariation()(torch.zeros(1, 3, 1, 5))
    with pytest.raises(ConfigError, match=r"0\.5"):
        ADI(floor=0.7)
    with pytest.raises(ConfigError, match="above 0"):
        CMIContrast(0.0)
    with pytest.raises(ConfigError, match="expected equal numbers"):
        CMIContrast()([s, s], [t])
    for loss in (DFAD(), JensenShannon(), ADI(), CMIAdversarial()):
        with pytest.raises(ConfigError, match="equal shapes"):
            loss(s, t[:, :3])
