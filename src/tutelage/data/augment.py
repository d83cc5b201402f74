"""Addressed randomness: the augmentation of a sample depends only on (seed, sample number, view).

It is therefore independent of order, batch, worker and device; cached teacher outputs stay valid, and a resumed run
gets the same augmented images as an uninterrupted one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def _s64(v: int) -> int:
    return v - (1 << 64) if v >= 1 << 63 else v


_GOLD, _C1, _C2 = (_s64(v) for v in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _mix(x: Tensor) -> Tensor:
    """Apply the finaliser of splitmix64; int64 wraps around, and its ">>" keeps the sign, hence the masks."""
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))) * _C1
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))) * _C2
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def random_bits(seed: int, index: Tensor, view: int, draws: int) -> Tensor:
    """Return 64 random bits for each draw of each sample: index (B,) -> (B, draws) int64.

    Steele, Lea, Flood. OOPSLA 2014 (splitmix64), keyed by seed, sample number and view in turn.
    """
    k = _mix(torch.as_tensor(_s64(seed % (1 << 64)), dtype=torch.int64, device=index.device) + _GOLD)
    k = _mix((k ^ index.long()) + _GOLD)
    k = _mix((k ^ torch.as_tensor(view, dtype=torch.int64, device=index.device)) + _GOLD)
    return _mix(k[:, None] + _GOLD * torch.arange(1, draws + 1, device=index.device))


NOISE = 0x6E6F697365
"""Separates the noise at an address from the augmentation there."""


@contextmanager
def seeded_generators(seed: int, number: int, view: int, stream: int = 0) -> Iterator[None]:
    """Seed the generators of torch, numpy and random from a sample's address inside the block; restore them after it.

    stream: a number that separates this use from earlier ones at the same address.
    """
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    address = int(random_bits(seed, torch.tensor([number]), view, stream + 1)[0, stream]) % 2**32
    torch.default_generator.manual_seed(address)
    np.random.seed(address)
    random.seed(address)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def to_integers(b: Tensor, n: int) -> Tensor:
    """Map random bits to int64, uniform in [0, n), n < 2³²."""
    return (((b >> 33) & ((1 << 31) - 1)) * n) >> 31


def to_uniform(b: Tensor) -> Tensor:
    """Map random bits to float32, uniform in [0, 1)."""
    return ((b >> 40) & ((1 << 24) - 1)).float() * 2.0**-24


def crop_flip(
    x: Tensor, index: Tensor, seed: int, view: int, pad: int = 4, *, flip: bool = True, fill: float = 0, times: int = 1
) -> Tensor:
    """Pad by `fill`, crop back at a random place and flip left-right at random: (B, C, H, W) of any dtype -> same.

    Two tensors of the same height, width and index (an image and its mask) are cropped and flipped identically; so is
    one that is `times` as high and wide, with the other's `pad`.
    """
    B, C, H, W = x.shape
    top, left, flipped = crop_flip_draws(index, seed, view, pad)
    top, left, pad = times * top, times * left, times * pad
    rows = top[:, None] + torch.arange(H, device=x.device)
    cols = torch.arange(W, device=x.device).expand(B, W)
    if flip:
        cols = torch.where(flipped[:, None], W - 1 - cols, cols)
    cols = left[:, None] + cols
    where = (rows[:, :, None] * (W + 2 * pad) + cols[:, None, :]).view(B, 1, H * W)
    return F.pad(x, (pad,) * 4, value=fill).flatten(2).gather(2, where.expand(B, C, H * W)).view(B, C, H, W)


def crop_flip_draws(index: Tensor, seed: int, view: int, pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the top and left of each sample's crop in the padded image, and whether it is flipped: (B,) each."""
    r = random_bits(seed, index, view, 3)
    return to_integers(r[:, 0], 2 * pad + 1), to_integers(r[:, 1], 2 * pad + 1), r[:, 2] < 0


def is_flipped(index: Tensor, seed: int, view: int) -> Tensor:
    """Return whether `crop_flip` flips each sample: (B,) bool."""
    return crop_flip_draws(index, seed, view, 0)[2]


def window_flip(x: Tensor, index: Tensor, seed: int, view: int, size: tuple[int, int], *, fill: int = 0) -> Tensor:
    """Cut a window at a random place and flip it left-right at random: (B, C, H, W) of any dtype -> (B, C, *size).

    A side shorter than the window is padded by `fill`, at its end. Tensors of the same height, width and index are cut
    and flipped identically.
    """
    x = F.pad(x, (0, max(size[1] - x.shape[3], 0), 0, max(size[0] - x.shape[2], 0)), value=fill)
    _, C, H, W = x.shape
    r = random_bits(seed, index, view, 3)
    rows = to_integers(r[:, 0], H - size[0] + 1)[:, None] + torch.arange(size[0], device=x.device)
    columns = torch.arange(size[1], device=x.device).expand(len(x), -1)
    columns = (
        torch.where((r[:, 2] < 0)[:, None], columns.flip(1), columns) + to_integers(r[:, 1], W - size[1] + 1)[:, None]
    )
    where = (rows[:, :, None] * W + columns[:, None, :]).flatten(1)[:, None]
    return x.flatten(2).gather(2, where.expand(-1, C, -1)).unflatten(2, size)


def shift(x: Tensor, index: Tensor, seed: int, view: int, most: int) -> Tensor:
    """Shift every position dimension by -most … most places at random, filling with 0: (B, C, …) -> same.

    Each dimension gets a draw of its own at the sample's address.
    """
    dimensions = range(2, x.dim())
    places = to_integers(random_bits(seed, index, view, len(dimensions)), 2 * most + 1)
    padded = F.pad(x, (most, most) * len(dimensions))
    for number, dim in enumerate(dimensions):
        window = places[:, number, None] + torch.arange(x.shape[dim], device=x.device)
        shape = [1] * padded.dim()
        shape[0], shape[dim] = window.shape
        sizes = list(padded.shape)
        sizes[dim] = x.shape[dim]
        padded = padded.gather(dim, window.view(shape).expand(sizes))
    return padded


def random_crop_box(seed: int, number: int, view: int, height: int, width: int) -> tuple[int, int, int, int, bool]:
    """Return a random resized crop of one photo: (top, left, height, width, flip).

    Area 8 to 100 % of the photo, aspect 3/4 to 4/3 (uniform in its logarithm); the first of ten draws that fits, else
    the largest centred crop of an allowed aspect. Szegedy et al. CVPR 2015. arXiv:1409.4842
    """
    tries = 10
    r = random_bits(seed, torch.tensor([number]), view, 4 * tries + 1)[0]
    area = (0.08 + 0.92 * to_uniform(r[:tries])) * height * width
    aspect = ((2 * to_uniform(r[tries : 2 * tries]) - 1) * math.log(4 / 3)).exp()
    w, h = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
    fits = ((w >= 1) & (w <= width) & (h >= 1) & (h <= height)).nonzero()
    flip = bool(r[-1] < 0)
    if not len(fits):
        w0, h0 = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
        return (height - h0) // 2, (width - w0) // 2, h0, w0, flip
    k = int(fits[0])
    h0, w0 = int(h[k]), int(w[k])
    top = int(to_integers(r[2 * tries + k], height - h0 + 1))
    left = int(to_integers(r[3 * tries + k], width - w0 + 1))
    return top, left, h0, w0, flip


def stream_uniform(stream: int, index: Tensor, seed: int, view: int, draws: int) -> Tensor:
    """Return numbers in [0, 1) at the samples' addresses: index (B,) -> (B, draws) float32.

    stream: a number that separates these draws from others at the same address.
    """
    address = int(random_bits(seed, torch.zeros(1, dtype=torch.int64), view, stream + 1)[0, stream])
    return to_uniform(random_bits(address, index, view, draws))


def addressed_noise(index: Tensor, seed: int, view: int, shape: tuple[int, ...]) -> Tensor:
    """Return standard normal noise at the samples' addresses: index (B,) -> (B, *shape) float32.

    It is independent of the augmentation at the same address. Box, Muller. Ann. Math. Statist. 1958.
    """
    count = math.prod(shape)
    half = (count + 1) // 2
    u = to_uniform(random_bits(seed ^ NOISE, index, view, 2 * half))
    radius, angle = (-2 * (1 - u[:, :half]).log()).sqrt(), (2 * math.pi) * u[:, half:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], 1)[:, :count].view(len(index), *shape)


def addressed_uniform(index: Tensor, seed: int, view: int) -> Tensor:
    """Return a number in (0, 1] at each sample's address: index (B,) -> (B,) float32."""
    return 1 - to_uniform(random_bits(seed ^ (NOISE + 1), index, view, 1))[:, 0]
