"""Semantic segmentation of discs and squares, with distillation of the logits (KD) and of channel-wise maps (CWD)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

import tutelage
from tutelage import CWD, KD
from tutelage.data import from_datasets


class Shapes(Dataset[tuple[Tensor, Tensor]]):
    """Noisy images (3, 24, 24) uint8 with one disc and one square; masks (24, 24): 0 background, 1 disc, 2 square."""

    def __init__(self, count: int, seed: int, side: int = 24) -> None:
        generator = np.random.default_rng(seed)
        rows, cols = np.mgrid[:side, :side]
        self.samples = []
        for _ in range(count):
            mask = np.zeros((side, side), np.int64)
            (y, x), radius = generator.integers(5, side - 5, 2), generator.integers(3, 6)
            mask[(rows - y) ** 2 + (cols - x) ** 2 <= radius**2] = 1
            (y, x), half = generator.integers(5, side - 5, 2), generator.integers(2, 5)
            mask[(abs(rows - y) <= half) & (abs(cols - x) <= half)] = 2
            mask[0] = 255  # unlabelled: ignored by losses and metrics
            image = 90.0 * (mask > 0) + generator.normal(80, 25, (3, side, side))
            self.samples.append((torch.from_numpy(image.clip(0, 255).astype(np.uint8)), torch.from_numpy(mask)))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        return self.samples[number]


def main(epochs: int = 6, train: int = 200, **keys: object) -> tutelage.FinishedRun:
    """Distil seg16 into seg4."""
    classes = ["ground", "disc", "square"]
    data = from_datasets(Shapes(train, 0), test=Shapes(60, 1), classes=classes, task="segmentation", name="shapes")
    keys = {"epochs": epochs, "batch_size": 16, "lr": 0.1, **keys}
    return tutelage.distill("seg4", "seg16", data, KD() + 0.5 * CWD(), **keys)


if __name__ == "__main__":
    run = main()
    print({role: run.result[role]["miou"] for role in ("teacher", "baseline", "student")}, run.report)
