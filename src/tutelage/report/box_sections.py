"""The sections of a detection: average precision by class, and boxes drawn in images."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.report.components import Block, LegendBlock, MaskBlock, MissingDataError, Section, Table, format_percent
from tutelage.report.masks import LEGEND_SIZE, class_colour, encode_png
from tutelage.report.run_record import ROLES, RunRecord

SHOWN = 0.3
"""The score from which a detection is drawn."""
PIXELS = 360
"""The longest side of a drawn image."""


def classes(run: RunRecord) -> Section:
    """Build the table of each class's average precision, of each model."""
    tables = {
        role: phases[0].tables["classes"]
        for role in ROLES
        if (phases := run.phases_with_role(role)) and "classes" in phases[0].tables
    }
    if not tables:
        raise MissingDataError("it needs tables.npz with the table of classes")
    first = next(iter(tables.values()))
    rows = []
    for number, row in enumerate(first):
        values = [_percent(table[number, column]) for table in tables.values() for column in (1, 2)]
        rows.append([run.class_name(number), f"{int(row[0]):,}", *values])
    head = [f"{run.label(role)}, {name}" for role in tables for name in ("AP", "AP at 0.5")]
    table = Table("Average precision by class", ["Class", "Objects", *head], rows)
    lead = f"{run.judged_on.capitalize()} split, first seed; AP is the mean over overlaps 0.5, 0.55 … 0.95 with it."
    return Section("Precision by class", lead, [table])


def boxes(run: RunRecord) -> Section:
    """Build the section: each example image with its objects and each model's detections."""
    examples = run.examples
    if examples is None or examples.objects is None:
        raise MissingDataError("the folder has no examples.npz with objects")
    models = [
        (run.label(role), phases[0].predictions)
        for role in ROLES
        if (phases := run.phases_with_role(role)) and "detections" in phases[0].predictions
    ]
    count, rows, seen = len(run.data.get("classes") or []), [], set()
    for index, image, objects, size in zip(
        examples.index.tolist(), examples.images, examples.objects, examples.sizes, strict=True
    ):
        of_image = [("Truth", objects)]
        of_image += [(label, _detections(found, index)) for label, found in models]
        images = []
        for label, found in of_image:
            found = found[found[:, 5] >= 0]
            seen |= set(found[:, 5].astype(int).tolist())
            picture = draw_boxes(image, found, size, count)
            images.append(
                (label, encode_png(picture, PIXELS), f"{run.judged_on} image {index} with boxes, {label.lower()}")
            )
        rows.append(MaskBlock(images))
    entries = [(class_colour(i, count), run.class_name(i)) for i in sorted(seen)][:LEGEND_SIZE]
    blocks: list[Block] = [LegendBlock(entries), *rows]
    which = f"{run.judged_on.capitalize()} images, evenly spaced over the split, first seed"
    lead = f"{which}; detections of a score from {SHOWN}.{examples.note}"
    return Section("Boxes", lead, blocks)


def _detections(arrays: dict[str, Any], index: int) -> Any:
    """Return the detections of a sample that are drawn, (D, 6)."""
    found = arrays["detections"][arrays["index"] == index].reshape(-1, 6)
    return found[found[:, 4] >= SHOWN]


def draw_boxes(image: Any, found: Any, size: Any, count: int) -> Any:
    """Return the image (H, W, 3) uint8 with boxes (D, 6) of classes; size: the height and width of their pixels."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(image)
    factor = PIXELS / max(picture.size)
    picture = picture.resize((round(picture.width * factor), round(picture.height * factor)))
    pen = ImageDraw.Draw(picture)
    scale = np.array([picture.width / size[1], picture.height / size[0]] * 2)
    for row in found:
        pen.rectangle((row[:4] * scale).tolist(), outline=class_colour(int(row[5]), count), width=2)
    return np.asarray(picture)


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else format_percent(float(value))
