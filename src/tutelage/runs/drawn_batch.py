"""One augmented training batch with its targets, drawn on a page (`tutelage check … draw=FILE.html`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.config.schema import Config
from tutelage.data.data_module import DataModule
from tutelage.report import batch_page
from tutelage.report.batch_page import Picture
from tutelage.report.box_sections import draw_boxes
from tutelage.report.components import Block, LegendBlock, Section, format_decimal
from tutelage.report.map_sections import draw
from tutelage.report.masks import IGNORE, LEGEND_SIZE, class_colour, colour_mask
from tutelage.runs.examples import object_rows, pixels_of
from tutelage.structures import Batch, JoinedInputs
from tutelage.utils.stream_names import LABELLED

SHOWN = 12
"""The most samples on the page."""


def write(path: Path, data: DataModule, config: Config) -> None:
    """Write the page of the first samples of the first training batch, as models get them in the first epoch.

    Raises: TutelageError if it can't be written.
    """
    count = min(SHOWN, config.batch_size, len(data.train))
    batch = next(iter(data.batches("train", count, seed=config.seed)))
    mixed = f" They are drawn before mix={config.mix}." if config.mix else ""
    lead = (
        f"The first {len(batch)} samples of the first batch (seed {config.seed}), as models get them; augment "
        f"{data.augment}.{mixed}"
    )
    sections = [Section("Samples", lead, [*_legend(data, batch), *_samples(data, batch)])]
    lead = "The samples as models with this input get them."
    for name, other in data.others.items():
        sections.append(Section(f"Input {name}", lead, _samples(other, batch.seen_as(name))))
    batch_page.write(path, f"A training batch of {data.name}", sections)


def _samples(data: DataModule, batch: Batch) -> list[Block]:
    """Return the blocks of samples: as pictures, charts or rows, whichever their inputs can be drawn as."""
    captions = [_caption(data, batch, n) for n in range(len(batch))]
    if isinstance(batch.inputs, JoinedInputs):
        return batch_page.targets(captions)
    x = next(iter(batch.inputs.values())) if isinstance(batch.inputs, Mapping) else batch.inputs
    if data.target == "image" and batch.targets is not None:  # the inputs are noise
        x = batch.targets
    if data.modality == "image" or data.kind.has_pictures:
        images, _ = pixels_of(data, x)
        drawn = DRAWINGS.get(data.target, _no_drawing)
        return batch_page.pictures([drawn(data, batch, n, images[n], captions[n]) for n in range(len(batch))])
    names = data.input_names or tuple(f"channel {n}" for n in range(data.channels))
    raw = x.cpu() * _column(data.std, x) + _column(data.mean, x)
    if x.dim() == 3:
        return batch_page.series(captions, raw.numpy(), names)
    if x.dim() == 2:
        return batch_page.rows(captions, raw.numpy(), names)
    return batch_page.targets(captions)


def _column(values: Sequence[float], x: Tensor) -> Tensor:
    """Return a value of each channel in the form of inputs (B, C, …)."""
    return torch.tensor(values).view(-1, *(1 for _ in x.shape[2:]))


def _caption(data: DataModule, batch: Batch, n: int) -> str:
    """Return a sample's target in words; without one, what it is."""
    if batch.objects is not None:
        return f"{len(batch.objects[n]['labels'])} objects" if n < len(batch.objects) else "unlabelled"
    if batch.targets is None or n >= _labelled(batch):
        return "unlabelled"
    describe = CAPTIONS.get(data.target)
    return data.target if describe is None else describe(data, batch.targets[n])


def _labelled(batch: Batch) -> int:
    """Return the number of labelled samples, which are the first."""
    return batch.streams[LABELLED][1] if batch.streams else len(batch)


def _of_columns(data: DataModule, target: Tensor) -> str:
    names, start = [], 0
    for (column, classes), label in zip(data.columns.items(), target.tolist(), strict=True):
        names.append(f"{column}: {data.classes[start + label] if label >= 0 else 'unknown'}")
        start += classes
    return ", ".join(names)


def _of_set(data: DataModule, target: Tensor) -> str:
    return ", ".join(name for name, value in zip(data.classes, target.tolist(), strict=True) if value == 1) or "none"


def _of_values(data: DataModule, target: Tensor) -> str:
    if data.values is None:
        return ", ".join(map(format_decimal, target.flatten().tolist()))
    values = data.values.restore(target[None])[0].tolist()
    named = [f"{name} {format_decimal(value)}" for name, value in zip(data.values.names, values, strict=False)]
    return ", ".join(named[:4]) + (" …" if len(named) > 4 else "")


CAPTIONS: Mapping[str, Callable[[DataModule, Tensor], str]] = {
    "label": lambda data, target: data.classes[int(target)],
    "labels": _of_columns,
    "label set": _of_set,
    "values": _of_values,
    "grades": _of_values,
    "image": lambda data, target: "an image to learn from",
    "mask": lambda data, target: f"mask, {float((target != IGNORE).float().mean()):.0%} labelled",
}
"""The words for a target, by the data's kind of targets; for others, the kind."""


def _no_drawing(data: DataModule, batch: Batch, n: int, image: Any, caption: str) -> list[Picture]:
    return [(caption, image)]


def _with_mask(data: DataModule, batch: Batch, n: int, image: Any, caption: str) -> list[Picture]:
    if batch.targets is None or n >= _labelled(batch):
        return [(caption, image)]
    return [("image", image), (caption, colour_mask(batch.targets[n].cpu().numpy(), len(data.classes)))]


def _with_map(data: DataModule, batch: Batch, n: int, image: Any, caption: str) -> list[Picture]:
    assert data.values is not None
    assert data.map_form is not None
    assert batch.targets is not None
    values = data.values.restore(batch.targets[n : n + 1])[0].cpu().numpy()
    known = values[np.isfinite(values)]
    scale = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    return [("image", image), (caption, draw(values, data.map_form.shown(data.values), *scale))]


def _with_boxes(data: DataModule, batch: Batch, n: int, image: Any, caption: str) -> list[Picture]:
    if batch.objects is None or n >= len(batch.objects):
        return [(caption, image)]
    return [(caption, draw_boxes(image, object_rows(batch.objects[n]).numpy(), image.shape[:2], len(data.classes)))]


DRAWINGS: Mapping[str, Callable[[DataModule, Batch, int, Any, str], list[Picture]]] = {
    "mask": _with_mask,
    "map": _with_map,
    "objects": _with_boxes,
}
"""The pictures of a sample that is an image, by the data's kind of targets."""


def _legend(data: DataModule, batch: Batch) -> list[Block]:
    """Return the colours of the classes that the batch has, if its targets are drawn."""
    seen: set[int] = set()
    if data.target == "mask" and batch.targets is not None:
        seen = {*batch.targets.unique().tolist()} - {IGNORE}
    if batch.objects is not None and data.classes:
        seen = {int(label) for each in batch.objects for label in each["labels"]}
    count = len(data.classes)
    entries = [(class_colour(i, count), data.classes[i]) for i in sorted(seen)][:LEGEND_SIZE]
    return [LegendBlock(entries)] if entries else []
