"""The descriptions of one of several input fields."""

from __future__ import annotations

from dataclasses import dataclass

from tutelage.data.scale import PIXELS, SourceScale


@dataclass(frozen=True)
class FieldForm:
    """The form of one of several input fields, before it is measured."""

    modality: str
    size: tuple[int, ...]
    source_scale: SourceScale = PIXELS


@dataclass(frozen=True)
class InputField:
    """One of several input fields: its modality, channels, size and statistics, as in DataModule."""

    modality: str
    channels: int
    size: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_names: tuple[str, ...] = ()
    source_scale: SourceScale = PIXELS
