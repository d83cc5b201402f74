"""The section on images with their true maps and the models' estimates, beside a colour scale."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np

from tutelage.report.components import Block, LegendBlock, MaskBlock, MissingDataError, Section
from tutelage.report.masks import encode_png
from tutelage.report.run_record import ROLES, RunRecord

SCALE = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Colours from the lowest to the highest value: viridis, which is even to the eye."""
UNKNOWN = (160, 160, 160)
STEPS = 5
SMALLEST = 96
"""The side below which pictures are enlarged, in pixels."""


def maps(run: RunRecord) -> Section:
    """Build the section: each example image with its true map and each model's, on one colour scale."""
    examples = run.examples
    if examples is None or examples.maps is None:
        raise MissingDataError("the folder has no examples.npz with maps")
    models = [
        (run.label(role), phases[0].maps) for role in ROLES if (phases := run.phases_with_role(role)) and phases[0].maps
    ]
    channels = examples.maps.shape[1]
    known = examples.maps[np.isfinite(examples.maps)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    kind = str(run.data.get("maps") or "")
    rows: list[Block] = []
    for index, image, target in zip(examples.index.tolist(), examples.images, examples.maps, strict=True):
        images = [("Image", _encode(image), f"{run.judged_on} image {index}")]
        images.append(("Truth", _encode(draw(target, kind, low, high)), f"true map of {index}"))
        for label, estimates in models:
            if index in estimates:
                drawn = draw(estimates[index], kind, low, high)
                images.append((label, _encode(drawn), f"estimated map of {index}, {label.lower()}"))
        rows.append(MaskBlock(images))
    legend = [] if kind == "image" else [LegendBlock(_legend(kind, low, high))]
    more = "" if channels == 1 or kind in ("image", "motion") else " Of several channels, the largest value is shown."
    lead = (
        f"{run.judged_on.capitalize()} images, evenly spaced over the split; predictions of the first seed."
        + more
        + examples.note
    )
    return Section("Maps", lead, [*legend, *rows])


def draw(values: Any, kind: str, low: float, high: float) -> Any:
    """Return a map (C, h, w) as pixels (h, w, 3): images as they are, motion by direction, others on a colour scale.

    kind: "image" (values in [0, 1]), "motion" (displacements along x and y), or empty. Unknown values are grey.
    """
    values = np.asarray(values, float)
    unknown = ~np.isfinite(values).all(0) if kind else ~np.isfinite(values).any(0)
    if kind == "image":
        pixels = np.broadcast_to(np.nan_to_num(values).clip(0, 1) * 255, (3, *values.shape[1:])).transpose(1, 2, 0)
    elif kind == "motion":
        pixels = _motion(np.nan_to_num(values), max(abs(low), abs(high), 1e-9))
    else:
        top = np.where(np.isfinite(values), values, -np.inf).max(0)
        pixels = colour((np.where(np.isfinite(top), top, low) - low) / max(high - low, 1e-12))
    return np.where(unknown[..., None], UNKNOWN, pixels).round().astype(np.uint8)


def colour(share: Any) -> Any:
    """Return the colours (…, 3) of shares of the scale, clipped to [0, 1]."""
    table, at = np.array(SCALE, float), np.linspace(0, 1, len(SCALE))
    return np.stack([np.interp(share, at, table[:, channel]) for channel in range(3)], -1)


def _motion(values: Any, most: float) -> Any:
    """Return directions as hues, and lengths as their strength."""
    angle = (np.arctan2(values[1], values[0]) / (2 * np.pi)) % 1
    strength = np.minimum(np.hypot(values[0], values[1]) / most, 1)[..., None]
    waves = np.abs((angle[..., None] * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    hue = np.clip(waves, 0, 1)
    return 255 * (1 - strength * (1 - hue))


def _legend(kind: str, low: float, high: float) -> list[tuple[str, str]]:
    if kind == "motion":
        names = ("right", "down", "left", "up")
        hues = [colorsys.hsv_to_rgb(turn / 4, 1, 1) for turn in range(4)]
        return [(_hex(255 * np.array(hue)), name) for hue, name in zip(hues, names, strict=True)]
    shares = np.linspace(0, 1, STEPS)
    entries = [(_hex(colour(share)), f"{low + share * (high - low):.3g}") for share in shares]
    return [*entries, (_hex(UNKNOWN), "unknown")]


def _hex(rgb: Any) -> str:
    return "#" + "".join(f"{round(float(value)):02x}" for value in rgb)


def _encode(pixels: Any) -> str:
    """Encode pixels (h, w, 3), enlarged if they are few."""
    times = max(1, -(-SMALLEST // max(pixels.shape[:2])))
    return encode_png(np.ascontiguousarray(pixels.repeat(times, 0).repeat(times, 1)), smooth=False)
