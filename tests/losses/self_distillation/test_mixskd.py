"""MixSKD's discriminators: their loss against loops, and the signs of its gradients."""

from __future__ import annotations

import math

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.self_distillation.mixskd import MixSKDDiscriminator

SHAPES = [(3, 4, 4), (5, 2, 2)]


def sides() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    mixed, mixture = ([torch.randn(6, *shape, requires_grad=True) for shape in SHAPES] for _ in range(2))
    return mixed, mixture


def built(mixed, mixture, **options) -> MixSKDDiscriminator:
    loss = MixSKDDiscriminator(**options)
    loss.build(mixed, mixture, 40)
    return loss


def probabilities(discriminator, feature) -> list[float]:
    """Return σ(D(f)) for each sample."""
    first, _, last = discriminator
    values = []
    for sample in feature.detach():
        means = [float(channel.mean()) for channel in sample]
        hidden = [
            max(sum(w * m for w, m in zip(row, means, strict=True)) + b, 0.0)
            for row, b in zip(first.weight.tolist(), first.bias.tolist(), strict=True)
        ]
        z = sum(w * h for w, h in zip(last.weight[0].tolist(), hidden, strict=True)) + last.bias.item()
        values.append(1 / (1 + math.exp(-z)))
    return values


def test_equals_loops():
    mixed, mixture = sides()
    loss = built(mixed, mixture, hidden=4)
    expected = [0.0] * 6
    for discriminator, s, t in zip(loss.discriminators, mixed, mixture, strict=True):
        for i, (p, q) in enumerate(zip(probabilities(discriminator, s), probabilities(discriminator, t), strict=True)):
            expected[i] -= (math.log(p) + math.log(1 - q)) / 2
    torch.testing.assert_close(loss(mixed, mixture), torch.tensor(expected))


def test_the_discriminators_minimise_what_the_model_maximises():
    mixed, mixture = sides()
    loss = built(mixed, mixture)
    plain = MixSKDDiscriminator(reverse=False)
    plain.discriminators = loss.discriminators
    features, weights = [*mixed, *mixture], list(loss.parameters())
    actual = torch.autograd.grad(loss(mixed, mixture).mean(), features + weights)
    expected = torch.autograd.grad(plain(mixed, mixture).mean(), features + weights)
    for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
        assert b.any()
        torch.testing.assert_close(a, -b if i < len(features) else b)


def test_sides_that_differ_raise():
    mixed, mixture = sides()
    with pytest.raises(ConfigError, match="2 student layers and 1 teacher layers"):
        built(mixed, mixture[:1])
    with pytest.raises(ConfigError, match="expected equal shapes"):
        built(mixed, mixture[::-1])
    with pytest.raises(ConfigError, match="hidden=0"):
        MixSKDDiscriminator(hidden=0)
