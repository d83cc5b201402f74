"""Checks of tasks with maps: what is known, values of another unit, and a teacher against the mean map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.data.heatmaps import mirrored_pairs
from tutelage.data.splits import ViewSeed
from tutelage.tasks.class_checks import judge_level
from tutelage.utils.finding import Finding, list_first

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
    for split in data.splits:
        maps = torch.cat([x.flatten(1) for x in read_maps(data, split)])
        share = float((~maps.isnan()).double().mean())
        if share < FEW:
            what, mend = (
                f"{share:.1%} of the values of {split}'s maps are known",
                "provide more, or check what is unknown.",
            )
            findings.append(Finding("warning" if share else "error", what, mend))
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


FAR = 1000.0
"""A depth above this is hardly in metres."""


def check_depths(data: DataModule) -> list[Finding]:
    """Check for depths of 0 or below, and for such large ones that they are rather millimetres."""
    maps = torch.cat([x.flatten() for x in read_maps(data, "train")])
    known = maps[~maps.isnan()]
    if not len(known):
        return []
    findings = []
    if not (known > 0).any():
        return [Finding("error", "no training value is above 0", "distances are; is it the right folder?")]
    if below := int((known <= 0).sum()):
        what = f"{below} training values are 0 or below, and have no logarithm"
        findings.append(Finding("warning", what, "mark what isn't known by NaN, or by `unknown` of maps.json."))
    if float(known.median()) > FAR:
        what = f"half of the training depths are above {FAR:g}"
        findings.append(Finding("warning", what, "are they in millimetres? Set scale in maps.json, such as 0.001."))
    return findings or [Finding("ok", f"depths from {float(known.min()):.3g} to {float(known.max()):.3g}")]


def check_counts(data: DataModule) -> list[Finding]:
    """Check that the training maps add up to whole numbers, as maps do that weren't resized as images are."""
    sums = torch.cat([torch.where(x.isnan(), 0, x).sum((2, 3)).flatten() for x in read_maps(data, "train")])
    if float(sums.max()) < 1:
        what = f"no training map adds up to one object (at most {float(sums.max()):.3g})"
        return [Finding("warning", what, "is it a density of objects per pixel? Set scale in maps.json.")]
    off = float((sums - sums.round()).abs().mean())
    if off > 0.15:
        what = f"the training maps don't add up to whole numbers (they are {off:.2f} off)"
        return [Finding("warning", what, "were they resized as images are? Their sums should be the counts.")]
    return [Finding("ok", f"from {float(sums.min()):.3g} to {float(sums.max()):.3g} objects an image")]


def check_displacements(data: DataModule) -> list[Finding]:
    """Check that displacements aren't larger than the image, and that there are two images."""
    findings = []
    if data.channels % 2 or data.channels < 2:
        what = f"the inputs have {data.channels} channels: expected those of two images"
        findings.append(Finding("warning", what, "lay the second images in images2/, or save both in x_train."))
    largest = max(float(x.nan_to_num(0).abs().max()) for x in read_maps(data, "train"))
    if largest > max(data.size):
        what = f"a displacement of {largest:.4g} is larger than the image"
        findings.append(Finding("warning", what, "are they in pixels? Set scale in maps.json."))
    return findings or [Finding("ok", f"displacements up to {largest:.3g} pixels")]


def check_points(data: DataModule) -> list[Finding]:
    """Check for points that no training sample shows, and for names of two sides that don't change places."""
    assert data.values is not None
    assert data.map_form is not None
    shown = torch.stack([(~x.isnan().flatten(2).any(2)).sum(0) for x in read_maps(data, "train")]).sum(0)
    names = data.values.names
    findings = []
    if never := [name for name, count in zip(names, shown.tolist(), strict=True) if not count]:
        findings.append(Finding("warning", f"no training sample shows {list_first(never)}", "leave them out."))
    if mirrored_pairs(names) and not data.map_form.order and "flip" in data.augment:
        what = "left and right don't change places in flipped images"
        findings.append(Finding("warning", what, "name the pairs: heatmaps={flip_pairs: [[left, right]]}."))
    return findings or [Finding("ok", f"each point is seen in {int(shown.min())} training samples or more")]
