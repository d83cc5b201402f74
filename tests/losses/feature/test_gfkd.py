"""GFKD against its formula with fixed noise, and which side each of its losses trains."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ConfigError
from tutelage.losses.feature.gfkd import GFKD


def built(student, teacher, **options):
    loss = GFKD(**options)
    loss.build(student, teacher, 0)
    return loss


def by_hand(layers, x):
    first, _, last = layers
    x = torch.einsum("oc,bc...->bo...", first.weight.flatten(1), x) + first.bias.view(-1, *[1] * (x.dim() - 2))
    return torch.einsum("oc,bc...->bo...", last.weight.flatten(1), x.clamp(min=0)) + last.bias.view(
        -1, *[1] * (x.dim() - 2)
    )


@pytest.mark.parametrize("size", [(6,), (3, 4), (2, 3, 4)])
def test_equals_the_formula(size):
    s, t, noise = torch.randn(2, 3, *size), torch.randn(2, 5, *size), torch.randn(2, 4, *size)
    loss = built(s, t, latent=4, divergence=0.1)
    mean, log_variance = by_hand(loss.vae.encoder, torch.cat([t, s], 1)).chunk(2, 1)
    z = mean + log_variance.exp().sqrt() * noise
    normal, standard = torch.distributions.Normal(mean, log_variance.exp().sqrt()), torch.distributions.Normal(0, 1)
    expected = {
        "generation": (by_hand(loss.vae.decoder, torch.cat([torch.zeros_like(z), s], 1)) - t).square(),
        "reconstruction": (by_hand(loss.vae.decoder, torch.cat([z, s], 1)) - t).square(),
        "divergence": 0.1 * torch.distributions.kl_divergence(normal, standard),
    }
    values = loss(s, t, noise=noise)
    for name, value in expected.items():
        torch.testing.assert_close(values[name], value.flatten(1).mean(1), rtol=1e-4, atol=1e-6)


def test_each_loss_trains_its_own_side():
    s, t = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(2, 5, 4, 4)
    loss = built(s.detach(), t)
    parameters = list(loss.vae.parameters())
    values = loss(s, t)
    assert torch.autograd.grad(values["generation"].sum(), s, retain_graph=True)[0].abs().sum() > 0
    of_generation = torch.autograd.grad(values["generation"].sum(), parameters, retain_graph=True, allow_unused=True)
    assert all(gradient is None for gradient in of_generation)
    learning = (values["reconstruction"] + values["divergence"]).sum()
    assert torch.autograd.grad(learning, s, retain_graph=True, allow_unused=True)[0] is None
    assert all(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(learning, parameters))


def test_a_smaller_map_is_resized():
    s, t = torch.randn(2, 3, 2, 4, 4), torch.randn(2, 5, 4, 2, 2)
    noise = torch.randn(2, 16, 4, 2, 2)
    loss = built(s, t)
    larger = F.interpolate(s, (4, 2, 2), mode="trilinear", align_corners=False)
    for name, value in loss(s, t, noise=noise).items():
        torch.testing.assert_close(value, loss(larger, t, noise=noise)[name])


def test_raises_for_invalid_arguments():
    with pytest.raises(ConfigError, match="latent=0"):
        GFKD(latent=0)
    with pytest.raises(ConfigError, match="divergence=-1"):
        GFKD(divergence=-1)
