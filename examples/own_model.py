"""Your own network: pass the module, or name a function that builds it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import tutelage


class Mixer(nn.Module):
    """A small ConvMixer; any module that maps (B, C, H, W) to (B, classes) works."""

    def __init__(self, classes: int, channels: int = 1, width: int = 16, blocks: int = 2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, kernel_size=2, stride=2)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1, groups=width), nn.BatchNorm2d(width), nn.GELU(),
                          nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.GELU())
            for _ in range(blocks)
        )  # fmt: skip
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean((2, 3)))


def small(classes: int, channels: int) -> nn.Module:
    """Build the network; on the command line: student=python:own_model:small."""
    return Mixer(classes, channels)


def main(epochs: int = 10, **keys: object) -> tuple[tutelage.FinishedRun, nn.Module]:
    """Return the run, and its student loaded into a new network."""
    keys = {"epochs": epochs, "lr": 0.1, **keys}
    run = tutelage.distill(Mixer(10), "cnn16", "digits", "kd", **keys)
    return run, tutelage.load(run.folder, Mixer(10))


if __name__ == "__main__":
    run, student = main()
    print(run.result["gain"], run.report)
    print(student(torch.zeros(1, 1, 8, 8)).shape)
