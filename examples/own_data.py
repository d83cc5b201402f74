"""Your own data: two map-style Datasets of (image, class), passed directly."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import Dataset

import tutelage


class Numerals(Dataset[tuple[Tensor, int]]):
    """Images (1, 8, 8) uint8 with their class; the toolkit normalises them, and shifts them with augment="shift"."""

    def __init__(self, train: bool) -> None:
        digits = load_digits()
        rows = slice(0, 1400) if train else slice(1400, None)
        self.images = torch.from_numpy(digits.images[rows] * 15).byte()[:, None]
        self.targets = digits.target[rows].tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self.images[number], self.targets[number]


def main(epochs: int = 10, **keys: object) -> tutelage.FinishedRun:
    """Train a teacher and a student on these Datasets; a validation split is taken from the first."""
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    data = (Numerals(train=True), Numerals(train=False))
    return tutelage.distill("cnn4", "cnn16", data, "kd", classes=names, augment="shift", epochs=epochs, lr=0.1, **keys)


if __name__ == "__main__":
    run = main()
    print(run.result["data"]["classes"], run.result["gain"], run.report)
