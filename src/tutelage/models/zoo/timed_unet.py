"""A small U-Net that denoises images, given the time that their noise belongs to."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork, init_kaiming
from tutelage.models.zoo.segnet import upsample_to
from tutelage.structures import Inputs

FREQUENCIES = 8


class TimedUNet(ZooNetwork):
    """A small U-Net for denoising: stages layer1, layer2, layer3, W, 2W, 4W wide, each half the size of the previous.

    Each stage, and each step up2 and up1 of the decoder, is one residual block whose middle is shifted by an embedding
    of the time. A step up concatenates the upsampled map and the stage's of that size.
    Shapes: noisy (B, channels, H, W), any H and W, time (B,) in [0, 1] → (B, classes, H, W).
    Raises: ConfigError if the width isn't above 0.
    """

    pattern = r"timed_unet(?P<width>\d+)"
    name_form = "timed-unetW"
    examples = ("timed-unet8", "timed-unet16", "timed-unet32")
    task = "denoising"

    def __init__(self, classes: int, channels: int = 3, width: int = 16) -> None:
        super().__init__()
        if width < 1:
            raise ConfigError(f"timed-unet{width}: expected a width of 1 or more.")
        w1, w2, w3 = width, 2 * width, 4 * width
        self.time = TimeEmbedding(w3)
        self.stem = nn.Conv2d(channels, w1, 3, padding=1)
        self.layer1 = TimedBlock(w1, w1, w3)
        self.layer2 = TimedBlock(w1, w2, w3, stride=2)
        self.layer3 = TimedBlock(w2, w3, w3, stride=2)
        self.up2 = TimedBlock(w3 + w2, w2, w3)
        self.up1 = TimedBlock(w2 + w1, w1, w3)
        self.norm = group_norm(w1)
        self.classifier = nn.Conv2d(w1, classes, 3, padding=1)
        init_kaiming(self)

    def forward(self, noisy: Tensor, time: Tensor) -> Tensor:
        """noisy (B, channels, H, W), time (B,) → (B, classes, H, W)."""
        t = self.time(time)
        e1 = self.layer1(self.stem(noisy), t)
        e2 = self.layer2(e1, t)
        e3 = self.layer3(e2, t)
        d2 = self.up2(torch.cat([upsample_to(e3, e2), e2], 1), t)
        d1 = self.up1(torch.cat([upsample_to(d2, e1), e1], 1), t)
        return self.classifier(F.silu(self.norm(d1)))

    def example(self, samples: int, channels: int, *size: int) -> Inputs:
        """Return noisy images of zeros at time 0."""
        return {"noisy": torch.zeros(samples, channels, *size), "time": torch.zeros(samples)}


class TimeEmbedding(nn.Module):
    """Sines and cosines of the time at octaves, then two linear layers: (B,) → (B, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, time: Tensor) -> Tensor:
        """(B,) → (B, width)."""
        angles = time[:, None] * (math.pi / 2) * 2.0 ** torch.arange(FREQUENCIES, device=time.device)
        return self.layers(torch.cat([angles.sin(), angles.cos()], 1))


class TimedBlock(nn.Module):
    """A residual block of two 3×3 convolutions after group norms; the time's embedding is added in between."""

    def __init__(self, inputs: int, outputs: int, embedding: int, stride: int = 1) -> None:
        super().__init__()
        self.norm1, self.norm2 = group_norm(inputs), group_norm(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shift = nn.Linear(embedding, outputs)
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x (B, inputs, H, W), the time's embedding (B, D) → (B, outputs, …)."""
        h = self.conv1(F.silu(self.norm1(x))) + self.shift(time)[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


def group_norm(channels: int) -> nn.GroupNorm:
    """Return a group norm of four groups, or of one if the channels don't divide."""
    return nn.GroupNorm(4 if channels % 4 == 0 else 1, channels)
