"""Checks of tasks with maps: what is known, values of another unit, and a teacher against the mean map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.data.splits import ViewSeed
from tutelage.tasks.class_checks import judge_level
from tutelage.utils.finding import Finding

CHECKED = 200
"""The most samples of a split that are read."""

FEW = 0.05
"""The share of known values below which a warning is given."""


def read_maps(data: DataModule, split: str) -> Iterator[Tensor]:
    """Iterate over batches of a split's maps in their own units, at most `CHECKED` samples, evenly spread."""
    samples = getattr(data, split)
    rows = torch.linspace(0, len(samples) - 1, min(CHECKED, len(samples)), dtype=torch.float64).long()
    for _, maps in samples.read(list(rows.split(50)), ViewSeed()):
        yield maps


def check_known(data: DataModule) -> list[Finding]:
    """Check that enough is known in each split, and that the maps aren't all the same."""
    findings = []
    for split in ("train", "val", "test"):
        maps = torch.cat([x.flatten(1) for x in read_maps(data, split)])
        share = float((~maps.isnan()).double().mean())
        if share < FEW:
            level, mend = ("error" if share == 0 else "warning"), "provide more, or check the value of unknown pixels."
            findings.append(Finding(level, f"{share:.1%} of the values of {split}'s maps are known", mend))
        known = maps[~maps.isnan()]
        if len(known) and bool((known == known[0]).all()):
            what = f"the maps of {split} are {float(known[0]):g} everywhere"
            findings.append(Finding("error" if split == "train" else "warning", what, "is it the right folder?"))
    return findings or [Finding("ok", "enough of the maps is known in each split")]


def mean_map_figures(task: Any, data: DataModule) -> dict[str, float]:
    """Return the metrics on the validation split of the training samples' mean map, place by place."""
    total, count = torch.zeros(()), torch.zeros(())
    for batch in data.batches("train", 64, train=False):
        assert batch.targets is not None
        known = ~batch.targets.isnan()
        total, count = total + torch.where(known, batch.targets, 0).sum(0), count + known.sum(0)
    mean, metrics = total / count.clamp_min(1), task.metrics(len(task.values.names))
    for batch in data.batches("val", 64, train=False):
        task.update(metrics, mean.expand(len(batch), *mean.shape), batch)
    return {name: float(value) for name, value in metrics.compute().items()}


def judge_figure(
    name: str, value: float, least: float, higher_is_better: bool, of: str = "the mean map"
) -> list[Finding]:
    """Compare a trained teacher's metric with that of a simple estimate, which a student needn't learn."""
    what = f"the teacher's {name} on the validation split is {value:.4g}; {of} gives {least:.4g}"
    is_chance = value <= least if higher_is_better else value >= least
    mend = "is it trained on these maps, in these units, with these inputs? Set teacher_epochs to train it first."
    return judge_level(what, is_chance, mend, False, "")
