"""Diffusion in continuous time: the noise schedule, the image in a network's output, and DDIM steps.

z = α(t)·x + σ(t)·ε with α(t) = cos(πt/2), σ(t) = sin(πt/2): at time 0 the image x, at time 1 noise ε ~ N(0, 1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tutelage.nn.feature_extractor import respond
from tutelage.structures import Batch

LEAST_SIGNAL = 1e-3
"""The smallest α by which an image is recovered from a prediction of noise."""


def signal_and_noise(time: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return α and σ at times (B,), to be multiplied with a tensor (B, …)."""
    angle = (time * (math.pi / 2)).view(-1, *[1] * (like.dim() - 1))
    return angle.cos(), angle.sin()


def mix_noise(image: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Return z = αx + σε."""
    alpha, sigma = signal_and_noise(time, image)
    return alpha * image + sigma * noise


def velocity(image: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Return v = αε − σx, which a network may predict."""
    alpha, sigma = signal_and_noise(time, image)
    return alpha * noise - sigma * image


def split_velocity(noisy: Tensor, v: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Return the image x = αz − σv and the noise ε = σz + αv."""
    alpha, sigma = signal_and_noise(time, noisy)
    return alpha * noisy - sigma * v, sigma * noisy + alpha * v


def split_output(noisy: Tensor, output: Tensor, time: Tensor, predict: str) -> tuple[Tensor, Tensor]:
    """Return the image and the noise that a network's output, v or noise, predicts."""
    if predict == "v":
        return split_velocity(noisy, output, time)
    alpha, sigma = signal_and_noise(time, noisy)
    return (noisy - sigma * output) / alpha.clamp_min(LEAST_SIGNAL), output


def image_through(noisy: Tensor, time: Tensor, later: Tensor, earlier: Tensor) -> Tensor:
    """Return the image that, predicted for `noisy` at `time`, takes one DDIM step to `later` at the time `earlier`.

    x = (z' − (σ'/σ)z)/(α' − (σ'/σ)α). Salimans, Ho. ICLR 2022. arXiv:2202.00512, algorithm 2.
    """
    (alpha, sigma), (alpha_s, sigma_s) = signal_and_noise(time, noisy), signal_and_noise(earlier, noisy)
    share = sigma_s / sigma
    return (later - share * noisy) / (alpha_s - share * alpha)


def velocity_of_image(noisy: Tensor, image: Tensor, time: Tensor) -> Tensor:
    """Return the v that predicts this image: v = (αz − x)/σ; the time must be above 0."""
    alpha, sigma = signal_and_noise(time, noisy)
    return (alpha * noisy - image) / sigma


@torch.no_grad()
def sample(model: nn.Module, noise: Tensor, steps: int, predict: str = "v") -> Tensor:
    """Return images in [−1, 1] that a network makes of noise (B, C, H, W) by this number of DDIM steps.

    Each prediction of an image is clipped to [−1, 1]. Without further noise the images are a function of the noise.
    Song, Meng, Ermon. ICLR 2021. arXiv:2010.02502.
    """
    noisy = noise
    for step in range(steps, 0, -1):
        now = torch.full((len(noise),), step / steps, device=noise.device)
        output = respond(model, Batch({"noisy": noisy, "time": now}))
        image = split_output(noisy, output, now, predict)[0].clamp(-1, 1)
        alpha, sigma = signal_and_noise(now, noisy)
        noisy = mix_noise(image, (noisy - alpha * image) / sigma, now - 1 / steps)
    return noisy.clamp(-1, 1)
