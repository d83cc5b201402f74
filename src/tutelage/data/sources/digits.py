"""Handwritten digits included in scikit-learn."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from tutelage.data.preparation import SourceData, multi_task_data
from tutelage.data.splits import InMemorySplit

NAMES = {
    "digits": "1,797 handwritten digits, 8×8 grey, 10 classes (UCI); part of scikit-learn, nothing to download",
    "digits-tasks": "the same digits with three labels each: digit (10), parity (2), five or more (2)",
}


@cache
def _read_digits() -> Any:
    """Read scikit-learn's file once in a process."""
    from sklearn.datasets import load_digits

    return load_digits()


def find(kind: str, where: str, size: tuple[int, int] | None) -> SourceData:
    """Load the digits, their 17 grey levels scaled to 0 … 255."""
    digits = _read_digits()
    images = torch.from_numpy(digits.images)[:, None].mul(255 / 16).round().byte()
    classes, y = tuple(str(name) for name in digits.target_names), torch.from_numpy(digits.target.copy())
    if kind == "digits":
        return SourceData("classification", classes, size or (8, 8), "shift", {"train": InMemorySplit(images, y)})
    class_names = {"digit": classes, "parity": ("even", "odd"), "five": ("below five", "five or more")}
    samples = InMemorySplit(images, torch.stack([y, y % 2, (y >= 5).long()], dim=1))
    return multi_task_data(class_names, size or (8, 8), "shift", {"train": samples})
