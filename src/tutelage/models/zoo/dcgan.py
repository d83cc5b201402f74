"""A small generator, which makes images of latent vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tutelage.data.derived import LATENTS
from tutelage.errors import ConfigError, ModelError
from tutelage.models.zoo.base import ZooNetwork
from tutelage.structures import Inputs


class DCGAN(ZooNetwork):
    """A small generator: latents to a map 4W wide of a quarter of the image's side, doubled twice; -zD: D latents.

    layer0: a linear layer; layer1 and layer2: transposed 4×4 convolutions that double the map, 2W and W wide; each of
    the three with batch norm and ReLU; then a 3×3 convolution and tanh.
    Shapes: (B, D) → (B, outputs, H, W) in [−1, 1], H and W multiples of 4.
    Paper: Radford, Metz, Chintala. ICLR 2016. arXiv:1511.06434, whose map begins at 4×4 and doubles four times.
    Raises: ConfigError if a number isn't above 0, or a side of the images isn't a multiple of 4; ModelError for other
    inputs.
    """

    pattern = r"dcgan_(?P<width>\d+)(?:_z(?P<latents>\d+))?"
    name_form = "dcgan-W[-zD]"
    examples = ("dcgan-8", "dcgan-16", "dcgan-32")
    task = "generation"
    takes_size = True

    def __init__(
        self, classes: int, channels: int = 3, width: int = 16, latents: int = LATENTS, size: tuple[int, ...] = (32, 32)
    ) -> None:
        super().__init__()
        if min(width, latents) < 1:
            raise ConfigError(f"dcgan-{width}-z{latents}: expected numbers of 1 or more.")
        if any(side % 4 or not side for side in size):
            raise ConfigError(
                f"dcgan-{width} makes images whose sides are multiples of 4, not {'×'.join(map(str, size))}: set size."
            )
        self.latents = latents
        start = 4 * width, size[0] // 4, size[1] // 4
        linear = nn.Linear(latents, math.prod(start), bias=False)
        self.layer0 = nn.Sequential(linear, nn.Unflatten(1, start), nn.BatchNorm2d(4 * width), nn.ReLU())
        self.layer1, self.layer2 = Doubling(4 * width, 2 * width), Doubling(2 * width, width)
        self.image = nn.Conv2d(width, classes, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0.0, 0.02)

    def forward(self, latents: Tensor) -> Tensor:
        """(B, D) → (B, outputs, H, W)."""
        if latents.dim() != 2 or latents.shape[1] != self.latents:
            raise ModelError(
                f"this generator takes (B, {self.latents}) latents, got {tuple(latents.shape)}: name it dcgan-W-zD for "
                "D latents, as many as the task's (task={name: generation, latents: D})."
            )
        return torch.tanh(self.image(self.layer2(self.layer1(self.layer0(latents)))))

    def example(self, samples: int, channels: int, *size: int) -> Inputs:
        """Return latents of zeros."""
        return torch.zeros(samples, self.latents)


class Doubling(nn.Sequential):
    """A transposed convolution that doubles a map's sides, batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        conv = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.ReLU())
