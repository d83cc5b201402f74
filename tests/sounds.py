"""Small recordings, for the tests of sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 2000


def tone(number: int, seconds: float = 0.5, rate: int = RATE) -> Any:
    """A noisy tone, whose pitch is the number's."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(number).normal(size=len(time))
    return 0.3 * np.sin(2 * np.pi * (100 + 150 * (number % 4)) * time) + 0.03 * noise


def write(path: Path, samples: Any, rate: int = RATE, subtype: str | None = None) -> Path:
    """Write a recording."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def folder_of_tones(root: Path, count: int = 60, speakers: int = 6) -> Path:
    """Write recordings CLASS_SPEAKER_TAKE.wav of four classes, of different lengths."""
    for number in range(count):
        name = f"{number % 4}_s{(number // 4) % speakers}_{number}.wav"
        write(root / name, tone(number, 0.4 + 0.01 * (number % 20)))
    return root
