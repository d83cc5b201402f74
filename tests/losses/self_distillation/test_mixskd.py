"""MixSKD's discriminators: their loss by loops, and who gains by it."""

from __future__ import annotations

import math

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.self_distillation.mixskd import MixSKDDiscriminator

SHAPES = [(3, 4, 4), (5, 2, 2)]


def sides() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    mixed, of_mixture = ([torch.randn(6, *shape, requires_grad=True) for shape in SHAPES] for _ in range(2))
    return mixed, of_mixture


def built(mixed, of_mixture, **options) -> MixSKDDiscriminator:
    loss = MixSKDDiscriminator(**options)
    loss.build(mixed, of_mixture, 40)
    return loss


def likely(discriminator, feature) -> list[float]:
    """σ(D(f)) of each sample."""
    first, _, last = discriminator
    found = []
    for sample in feature.detach():
        means = [float(channel.mean()) for channel in sample]
        hidden = [
            max(sum(w * m for w, m in zip(row, means, strict=True)) + b, 0.0)
            for row, b in zip(first.weight.tolist(), first.bias.tolist(), strict=True)
        ]
        z = sum(w * h for w, h in zip(last.weight[0].tolist(), hidden, strict=True)) + last.bias.item()
        found.append(1 / (1 + math.exp(-z)))
    return found


def test_its_value_by_loops():
    mixed, of_mixture = sides()
    loss = built(mixed, of_mixture, hidden=4)
    expected = [0.0] * 6
    for discriminator, s, t in zip(loss.discriminators, mixed, of_mixture, strict=True):
        for i, (p, q) in enumerate(zip(likely(discriminator, s), likely(discriminator, t), strict=True)):
            expected[i] -= (math.log(p) + math.log(1 - q)) / 2
    torch.testing.assert_close(loss(mixed, of_mixture), torch.tensor(expected))


def test_the_discriminators_minimise_what_the_model_maximises():
    mixed, of_mixture = sides()
    loss = built(mixed, of_mixture)
    plain = MixSKDDiscriminator(reverse=False)
    plain.discriminators = loss.discriminators
    features, learned = [*mixed, *of_mixture], list(loss.parameters())
    found = torch.autograd.grad(loss(mixed, of_mixture).mean(), features + learned)
    expected = torch.autograd.grad(plain(mixed, of_mixture).mean(), features + learned)
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert b.any()
        torch.testing.assert_close(a, -b if i < len(features) else b)


def test_sides_that_differ_are_refused():
    mixed, of_mixture = sides()
    with pytest.raises(ConfigError, match="2 student layers and 1 teacher layers"):
        built(mixed, of_mixture[:1])
    with pytest.raises(ConfigError, match="expected equal shapes"):
        built(mixed, of_mixture[::-1])
    with pytest.raises(ConfigError, match="hidden=0"):
        MixSKDDiscriminator(hidden=0)
