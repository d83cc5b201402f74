"""The section on images with their target masks and the models' predicted masks."""

from __future__ import annotations

import base64
import colorsys
import io
from typing import Any

import numpy as np

from tutelage.report.components import Block, LegendBlock, MaskBlock, MissingDataError, Section
from tutelage.report.run_record import ROLES, RunRecord

PIXELS, LEGEND_SIZE = 200, 24
"""The longest side of an image, and the largest number of classes in the legend."""
IGNORE = 255


def masks(run: RunRecord) -> Section:
    """Build the section: each example image with its target mask and each model's mask."""
    examples = run.examples
    if examples is None or examples.masks is None:
        raise MissingDataError("the folder has no examples.npz with masks")
    count = len(run.data.get("classes") or []) or int(examples.masks[examples.masks != IGNORE].max()) + 1
    models = [
        (run.label(role), phases[0].masks)
        for role in ROLES
        if (phases := run.phases_with_role(role)) and phases[0].masks
    ]
    rows: list[Block] = []
    seen = set(np.unique(examples.masks))
    for index, image, target in zip(examples.index.tolist(), examples.images, examples.masks, strict=True):
        images = [
            ("Image", encode_png(image), f"{run.judged_on} image {index}"),
            ("Target", encode_mask(target, count), f"target mask of {index}"),
        ]
        for label, predictions in models:
            if index in predictions:
                mask = np.where(target == IGNORE, IGNORE, predictions[index])
                seen |= set(np.unique(mask))
                images.append((label, encode_mask(mask, count), f"predicted mask of {index}, {label.lower()}"))
        rows.append(MaskBlock(images))
    entries = [(class_colour(i, count), run.class_name(int(i))) for i in sorted(seen - {IGNORE})]
    more = [("#7777", f"and {len(entries) - LEGEND_SIZE} more classes")] if len(entries) > LEGEND_SIZE else []
    blank = [("transparent", "blank: unlabelled, not evaluated")] if IGNORE in seen else []
    legend = LegendBlock([*entries[:LEGEND_SIZE], *more, *blank])
    lead = (
        f"{run.judged_on.capitalize()} images, evenly spaced over the split; predictions of the first seed."
        + examples.note
    )
    return Section("Masks", lead, [legend, *rows])


def class_colour(i: int, count: int) -> str:
    """Return a class's colour: hues evenly spaced over `count` classes, light and dark in turn."""
    red, green, blue = colorsys.hls_to_rgb(i / max(count, 1), (0.45, 0.65)[i % 2], 0.62)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def encode_mask(mask: Any, count: int) -> str:
    """Encode a mask (H, W) as a PNG data URI, with transparent unlabelled pixels."""
    return encode_png(colour_mask(mask, count), smooth=False)


def colour_mask(mask: Any, count: int) -> Any:
    """Return a mask (H, W) as pixels (H, W, 4), with transparent unlabelled ones."""
    table = np.array(
        [[*bytes.fromhex(class_colour(i, count)[1:]), 255] for i in range(count)] + [[0, 0, 0, 0]], np.uint8
    )
    return table[np.where(mask < count, mask, count)]


def encode_png(pixels: Any, longest: int = PIXELS, smooth: bool = True) -> str:
    """Encode pixels (H, W, 3 or 4) uint8 as a PNG data URI, with the longest side at most `longest` pixels."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest), Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=4)  # the highest takes ten times as long for a few percent
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
