"""The description of one of several input fields."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InputField:
    """One of several input fields: its modality, channels, size and statistics, as in DataModule."""

    modality: str
    channels: int
    size: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_names: tuple[str, ...] = ()
