"""Refusals and checks of data from which networks learn to make images."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.utils.finding import Finding

FEWEST = 10
"""The fewest images of a split that are compared."""
ENOUGH = 500
"""The images of the test split below which a Fréchet distance is far too large."""
SHAPES = (1, 3)
LOOKED_AT = 256
"""The images whose values are checked."""
SIDE = 4
"""The shortest side that the networks halve twice."""


def as_pictures_in_range(data: DataModule, task: str) -> DataModule:
    """Return data of this task with images in [−1, 1] and without classes.

    Raises: ConfigError if it has no images, they have other channels or are too small, or their range isn't known.
    """
    if data.modality != "image" or data.fields:
        raise ConfigError(f"task={task} makes images, and {data.name} has {data.modality} data: use data of images.")
    if data.channels not in SHAPES:
        raise ConfigError(
            f"task={task}: the images of {data.name} have {data.channels} channels: expected 1 or 3, grey or colours."
        )
    if min(data.size) < SIDE:
        raise ConfigError(
            f"task={task}: the images of {data.name} are {data.size[0]}×{data.size[1]}: expected {SIDE} pixels or more "
            "a side, which networks halve twice; set size."
        )
    if data.streams:
        raise ConfigError(f"task={task} learns from all images alike, and {data.name} has streams: name one data.")
    if not data.source_scale.known:
        raise ConfigError(
            f"task={task} makes images of a known range, and the floats of {data.name} are {data.source_scale.kind}: "
            "store pixels (uint8, or floats in [0, 1] with normalised=false)."
        )
    half = (0.5,) * data.channels
    options = {**data.source_options, "task": task}
    data = replace(data, task=task, classes=(), columns={}, mean=half, std=half, source_options=options)
    low, high = first_images(data).aminmax()
    if not -1 <= float(low) <= float(high) <= 1:
        raise ConfigError(
            f"task={task} makes images of a known range, and the values of {data.name} go from "
            f"{(float(low) + 1) / 2:.3g} to {(float(high) + 1) / 2:.3g}: store pixels, uint8 or floats in [0, 1]."
        )
    return data


def first_images(data: DataModule) -> Tensor:
    """Return the first images of train, normalised."""
    count = min(len(data.train), LOOKED_AT)
    plain = replace(data, derivation=None, target="none", augment="none")
    batch = next(plain.view_batches([torch.arange(count)], 0))
    assert isinstance(batch.inputs, Tensor)
    return batch.inputs


def refuse_few_images(data: DataModule, samples: int) -> None:
    """Refuse data whose images can't be compared.

    Raises: ConfigError for too few images in a split, or too few to compare.
    """
    for split in data.splits[1:]:
        if (count := len(getattr(data, split))) < FEWEST:
            raise ConfigError(
                f"{data.name} has {count} images in {split}: expected {FEWEST} or more to compare images that are made "
                "with them; use more data, or a larger val."
            )
    if samples < FEWEST:
        raise ConfigError(f"task: samples={samples}: expected {FEWEST} or more images to compare.")


def check_images(data: DataModule, samples: int) -> list[Finding]:
    """Check that there are enough images to compare, and that they aren't all the same."""
    findings = []
    count = min(samples, len(data.judged))
    if count < ENOUGH:
        findings.append(
            Finding(
                "warning",
                f"Fréchet distances of {count} images are much too large and vary",
                f"compare {ENOUGH} or more: set samples in task, or use a larger test split.",
            )
        )
    if float(first_images(data).std(0).max()) < 1e-3:
        findings.append(Finding("error", "the first images of train are all the same", "check the data's files."))
    return findings or [Finding("ok", f"{len(data.train)} images, {count} of {data.judged_on} to compare with")]
