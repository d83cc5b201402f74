"""Small clips, for the tests of clips: a square or a cross that moves to a side, so that the class needs both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cross-left", "cross-right", "square-left", "square-right")


def clip(number: int, label: str, frames: int = 10, side: int = 16) -> np.ndarray:
    """A clip (T, H, W, 3) of noise and a shape of four pixels."""
    rng = np.random.default_rng([CLASSES.index(label), number])
    shape, way = label.split("-")
    pixels = rng.integers(0, 60, (frames, side, side, 3)).astype(np.uint8)
    top, left = rng.integers(0, side - 4), rng.integers(0, side)
    stamp = np.ones((4, 4), bool) if shape == "square" else np.eye(4, dtype=bool) | np.eye(4, dtype=bool)[::-1]
    for time in range(frames):
        columns = (left + (time if way == "right" else -time) + np.arange(4)) % side
        pixels[time, top : top + 4, columns] = np.where(
            stamp.T[..., None], 220, pixels[time, top : top + 4, columns].transpose(0, 1, 2)
        )
    return pixels


def write(folder: Path, pixels: np.ndarray, names: str = "{:03d}.png", first: int = 0) -> Path:
    """Write a clip's frames."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(pixels):
        Image.fromarray(frame.squeeze()).save(folder / names.format(first + number))
    return folder


def folder_of_clips(root: Path, count: int = 6, frames: int = 10, side: int = 16, splits: tuple[str, ...] = ()) -> Path:
    """Write `count` clips of each class, in each split if there are any."""
    for part, split in enumerate(splits or ("",)):
        for label in CLASSES:
            for number in range(count):
                write(root / split / label / f"clip{number}", clip(100 * part + number, label, frames, side))
    return root
