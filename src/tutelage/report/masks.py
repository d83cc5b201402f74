"""Test images with the masks that were drawn on them and those that the models say."""

from __future__ import annotations

import base64
import colorsys
import io
from typing import Any

import numpy as np

from tutelage.report.components import Block, LegendBlock, MaskBlock, Missing, Section
from tutelage.report.run_record import ROLES, RunRecord

PIXELS, SHOWN = 200, 24
"""A picture's longest side; so many classes are named by their colours."""
IGNORE = 255


def masks(run: RunRecord) -> Section:
    """Each image beside the truth and what each model makes of it."""
    examples = run.examples
    if examples is None or examples.masks is None:
        raise Missing("the folder holds no examples.npz with masks")
    count = len(run.data.get("classes") or []) or int(examples.masks[examples.masks != IGNORE].max()) + 1
    models = [
        (run.label(role), phases[0].masks)
        for role in ROLES
        if (phases := run.phases_with_role(role)) and phases[0].masks
    ]
    rows: list[Block] = []
    seen = set(np.unique(examples.masks))
    for index, image, truth in zip(examples.index.tolist(), examples.images, examples.masks, strict=True):
        drawn = [
            ("Image", picture(image), f"test image {index}"),
            ("Truth", coloured(truth, count), f"mask of {index}"),
        ]
        for label, said in models:
            if index in said:
                mask = np.where(truth == IGNORE, IGNORE, said[index])
                seen |= set(np.unique(mask))
                drawn.append((label, coloured(mask, count), f"mask of {index} by the model: {label.lower()}"))
        rows.append(MaskBlock(drawn))
    named = [(colour(i, count), run.class_name(int(i))) for i in sorted(seen - {IGNORE})]
    more = [("#7777", f"and {len(named) - SHOWN} more classes")] if len(named) > SHOWN else []
    blank = [("transparent", "blank: unlabelled, which doesn't count")] if IGNORE in seen else []
    legend = LegendBlock([*named[:SHOWN], *more, *blank])
    intro = "Some test images, evenly spread over the split (first seed)." + examples.said
    return Section("Masks", intro, [legend, *rows])


def colour(i: int, count: int) -> str:
    """A class's colour: hues as far apart as so many allow, light and dark in turn."""
    red, green, blue = colorsys.hls_to_rgb(i / max(count, 1), (0.45, 0.65)[i % 2], 0.62)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def coloured(mask: Any, count: int) -> str:
    """A mask (H, W) as a PNG data URI, unlabelled pixels blank."""
    table = np.array([[*bytes.fromhex(colour(i, count)[1:]), 255] for i in range(count)] + [[0, 0, 0, 0]], np.uint8)
    return picture(table[np.where(mask < count, mask, count)], smooth=False)


def picture(pixels: Any, longest: int = PIXELS, smooth: bool = True) -> str:
    """Pixels (H, W, 3 or 4) uint8 as a PNG data URI, at most so many pixels long."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest), Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
