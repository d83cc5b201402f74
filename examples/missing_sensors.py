"""Segmentation of scenes by several sensors at two times, some missing: a teacher with all, a student with one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import tutelage
from tutelage.data.data_module import DataModule
from tutelage.data.preparation import SourceData, prepare_data
from tutelage.data.scale import Scale, SourceScale
from tutelage.data.splits import InMemorySplit

SENSORS = {"optical": 2, "radar": 1, "thermal": 1}
"""The sensors, and the number of bands of each; every band is there at two times."""
TIMES = 2
MISSING = 0.3


def scenes(count: int, seed: int, side: int = 16) -> tuple[Tensor, Tensor]:
    """Return scenes (N, bands, H, W) and masks (N, H, W): 0 ground, 1 water, 2 built between the two times.

    A sensor that a scene lacks is NaN in all its bands.
    """
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    masks = np.zeros((count, side, side), np.int64)
    bands = random.normal(size=(count, TIMES * sum(SENSORS.values()), side, side))
    names = band_names()
    for scene in range(count):
        for label in (1, 2):
            (y, x), radius = random.integers(3, side - 3, 2), random.integers(3, 5)
            masks[scene, (rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = label
        for number, name in enumerate(names):
            signal = 3.0 * (masks[scene] == 1) + 5.0 * (masks[scene] == 2) * name.endswith("later")
            bands[scene, number] += signal / (4 if name.startswith("optical") else 1)
        for sensor in SENSORS:
            if random.random() < MISSING:
                bands[scene, [name.startswith(sensor) for name in names]] = np.nan
    return torch.from_numpy(bands.astype(np.float32)), torch.from_numpy(masks)


def band_names() -> list[str]:
    """Return the names of the bands."""
    times = ("before", "later")
    return [f"{sensor} {band} {time}" for sensor, bands in SENSORS.items() for band in range(bands) for time in times]


def with_presence(bands: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Standardise the bands, with 0, their mean, for missing ones, and a channel for each sensor: 1 if it is there."""
    known = bands.isfinite()
    values = torch.where(known, (bands - mean) / std, 0.0)
    first = [band_names().index(f"{sensor} 0 before") for sensor in SENSORS]
    return torch.cat([values, known[:, first].float()], 1)


def data(train: int = 200) -> DataModule:
    """Return scenes whose channels have names, so that each model can choose some."""
    made = {"train": scenes(train, 0), "val": scenes(60, 1), "test": scenes(100, 2)}
    bands = made["train"][0]
    mean = bands.nanmean((0, 2, 3))[:, None, None]
    std = (bands - mean).square().nanmean((0, 2, 3)).sqrt()[:, None, None]
    splits = {name: InMemorySplit(with_presence(x, mean, std), masks) for name, (x, masks) in made.items()}
    names = (*band_names(), *(f"has {sensor}" for sensor in SENSORS))
    scale = Scale(SourceScale("normalised"), (0.0,) * len(names), (1.0,) * len(names))
    classes = ("ground", "water", "built")
    source = SourceData("segmentation", classes, (16, 16), "none", splits, scale, target="mask", input_names=names)
    return prepare_data("scenes", source)


def main(epochs: int = 12, train: int = 200, sensor: str = "optical", **keys: object) -> tutelage.FinishedRun:
    """Distil seg8 with all sensors into seg4 with one."""
    of_sensor = [name for name in (*band_names(), f"has {sensor}") if sensor in name]
    keys = {"epochs": epochs, "teacher_epochs": epochs, "batch_size": 20, "lr": 0.1, **keys}
    return tutelage.distill({"model": "seg4", "inputs": of_sensor}, "seg8", data(train), "kd+cwd", **keys)


if __name__ == "__main__":
    run = main()
    print({role: run.result[role]["miou"] for role in ("teacher", "baseline", "student")}, run.report)
