"""The section of images that the networks made, from the same noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.report.components import MaskBlock, MissingDataError, Section
from tutelage.report.masks import encode_png
from tutelage.report.run_record import ROLES, RunRecord

SHOWN = 36
"""The images of each network."""
COLUMNS, BORDER, SCALE = 6, 1, 2


def pictures(run: RunRecord) -> Section:
    """Show each network's images in a grid; the same place is the same noise."""
    grids = [
        (run.label(role), phases[0].predictions["samples"])
        for role in ROLES
        if (phases := run.phases_with_role(role)) and "samples" in phases[0].predictions
    ]
    if not grids:
        raise MissingDataError("it needs predictions.npz with samples")
    images = [(label, encode_png(_grid(samples), 10_000, smooth=False), f"images, {label.lower()}")
              for label, samples in grids]  # fmt: skip
    lead = f"The first {len(grids[0][1])} images of each network (first seed); the same place has the same input."
    return Section("Images", lead, [MaskBlock(images)])


def _grid(samples: Any) -> Any:
    """Return images (N, H, W, C) side by side, (…, …, 3), each pixel doubled."""
    samples = np.asarray(samples)[:SHOWN]
    rows = -(-len(samples) // COLUMNS)
    _, height, width, channels = samples.shape
    sheet = np.full((rows * (height + BORDER) - BORDER, COLUMNS * (width + BORDER) - BORDER, 3), 255, np.uint8)
    for number, image in enumerate(samples):
        top, left = (number // COLUMNS) * (height + BORDER), (number % COLUMNS) * (width + BORDER)
        sheet[top : top + height, left : left + width] = image if channels == 3 else np.repeat(image, 3, 2)
    return sheet.repeat(SCALE, 0).repeat(SCALE, 1)
