"""Masks in files, and the classes that their pixel values or colours stand for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tutelage.data.decode import ImageFile
from tutelage.data.listing import summarise
from tutelage.data.preparation import read_class_lists
from tutelage.data.splits import IGNORE
from tutelage.errors import DataError, plain

VOID = ("void", "ignore", "unlabelled", "unlabeled")
LOSSY = ("JPEG", "MPO")
HEX_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
MAX_VALUE = 2**16
SAMPLED = 1000
"""Number of masks from which the classes are inferred if there is no classes.json."""
EXAMPLE = 'classes.json: {"background": 0, "object": 255}, or with colours {"road": "#804080", "void": "#000000"}'

Codes = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


@dataclass(frozen=True)
class Legend:
    """The meaning of pixel values: meaning[code] is a class or IGNORE; other codes are invalid.

    coloured: codes are 0xRRGGBB instead of a mask's own values. mapped: codes were given for the classes, not only
    names.
    """

    classes: tuple[str, ...]
    meaning: Mapping[int, int]
    coloured: bool = False
    mapped: bool = False

    @property
    def identity(self) -> str:
        """The codes of the classes as text, for fingerprints; empty if names alone were given."""
        return str(self.meaning) if self.mapped else ""

    @cached_property
    def _table(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
        table = np.full(2**24 if self.coloured else MAX_VALUE, -1, dtype=np.int16)
        table[list(self.meaning)] = list(self.meaning.values())
        return table

    def read(self, path: Path) -> Tensor:
        """Return (H, W) uint8 classes, 255 at unlabelled pixels.

        Raises: DataError for codes without a meaning.
        """
        codes = read_colours(path) if self.coloured else read_values(path)
        classes = self._table[codes]
        if (classes < 0).any():
            kind = "colours" if self.coloured else "values"
            raise DataError(
                f"{plain(path)}: has the {kind} {self._listed(_present(codes[classes < 0]))}, but only "
                f"{self._listed(sorted(self.meaning))} have a class: correct the mask, or add the class to "
                'classes.json ("void" if it is to be ignored).'
            )
        return torch.from_numpy(classes.astype(np.uint8))

    def _listed(self, codes: Sequence[int]) -> str:
        return _list(to_hex(codes) if self.coloured else codes)


class MaskReading(Protocol):
    """The reading of mask files as classes."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        ...

    @property
    def identity(self) -> str:
        """The text that fingerprints must cover beside names and classes."""
        ...

    def read(self, path: Path) -> Tensor:
        """Return (H, W) uint8 classes, 255 at unlabelled pixels."""
        ...


@dataclass(frozen=True)
class MaskFiles:
    """Mask files with their legend."""

    paths: tuple[Path, ...]
    legend: MaskReading

    def read(self, number: int) -> Tensor:
        """Return one mask's classes."""
        return self.legend.read(self.paths[number])


def read_values(path: Path) -> Codes:
    """Return a mask's values (H, W), from 0: one channel, palette indices, or one of three equal channels.

    Raises: DataError for colours, fractions and values out of range.
    """
    array, mode = _pixels(path)
    if array.ndim == 3:
        array = array[..., : 1 if mode == "LA" else 3]
        if (array != array[..., :1]).any():
            raise DataError(
                f"{plain(path)}: mode {mode}: its pixels are colours: "
                f"{summarise(to_hex(_present(_packed(array))), 8)}; "
                f"expected one integer from 0 to 255 per pixel, or the class of each colour in {EXAMPLE}."
            )
        array = array[..., 0]
    if array.dtype.kind not in "bui" or array.min() < 0 or array.max() >= MAX_VALUE:
        raise DataError(
            f"{plain(path)}: mode {mode}, from {array.min()} to {array.max()}: expected a mask of one integer from 0 "
            "to 255 per pixel."
        )
    return array.astype(np.int64)


def read_colours(path: Path) -> Codes:
    """Return a mask's colours, 0xRRGGBB (H, W)."""
    picture = _lossless(path)
    return _packed(np.array(picture.decode()[0].convert("RGB")))


def _pixels(path: Path) -> tuple[Any, str]:
    picture = _lossless(path)
    return np.array(picture.decode()[0]), picture.mode


def _lossless(path: Path) -> ImageFile:
    """Open a mask's file.

    Raises: DataError if its format doesn't preserve values.
    """
    picture = ImageFile(path)
    if picture.format in LOSSY:
        levels = _present(np.array(picture.decode()[0].convert("L")))
        raise DataError(
            f"{plain(path)}: a mask saved as {picture.format}, which blurs its values "
            f"({len(levels)} of them: {_list(levels)}): save masks as PNG."
        )
    return picture


def _packed(rgb: Any) -> Codes:
    red, green, blue = (rgb[..., i].astype(np.int64) for i in range(3))
    return red << 16 | green << 8 | blue


def _present(codes: Any) -> list[int]:
    """Return the distinct codes, sorted."""
    return np.flatnonzero(np.bincount(codes.ravel())).tolist()


def to_hex(codes: Iterable[int]) -> list[str]:
    """Format colours as #rrggbb."""
    return [f"#{code:06x}" for code in codes]


def _list(codes: Sequence[object]) -> str:
    return f"[{summarise(list(codes), 12)}]"


def read_legend(file: Path) -> Legend:
    """Read a classes.json: a list of names, whose values are their positions, or each name's values or colours.

    Raises: DataError if it holds something else.
    """
    names, codes_of = _names_and_codes(file)
    classes = tuple(name for name in names if name.lower() not in VOID)
    if len(classes) > IGNORE:
        raise DataError(f"{plain(file)}: {len(classes)} classes: expected at most {IGNORE}.")
    meaning: dict[int, int] = {}
    for name in names:
        label = IGNORE if name.lower() in VOID else classes.index(name)
        for code in codes_of.get(name, [names.index(name)]):
            number = int(code[1:], 16) if isinstance(code, str) else code
            if meaning.setdefault(number, label) != label:
                raise DataError(f"{plain(file)}: {code} is given for two classes: expected one.")
    coloured = any(isinstance(code, str) for codes in codes_of.values() for code in codes)
    return Legend(classes, meaning if coloured else {IGNORE: IGNORE} | meaning, coloured, bool(codes_of))


def _names_and_codes(file: Path) -> tuple[list[str], dict[str, list[Any]]]:
    """Return the names, and each name's codes if the file is a mapping to codes."""
    try:
        loaded = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        loaded = None  # read_class_lists raises the reason
    codes_of = {n: v if isinstance(v, list) else [v] for n, v in loaded.items()} if isinstance(loaded, dict) else {}
    flat = [code for codes in codes_of.values() for code in codes]
    coloured = [isinstance(code, str) and bool(HEX_COLOUR.fullmatch(code)) for code in flat]
    valued = [isinstance(code, int) and not isinstance(code, bool) and 0 <= code < MAX_VALUE for code in flat]
    if flat and (all(coloured) or all(valued)):
        return list(codes_of), codes_of
    if any(coloured) or any(valued):
        wrong = [code for code, c, v in zip(flat, coloured, valued, strict=True) if not (v if any(valued) else c)]
        raise DataError(
            f"{plain(file)}: {summarise(wrong, 3)}: expected values from 0 or colours #rrggbb for each class, all of "
            f"one kind, such as {EXAMPLE}."
        )
    return read_class_lists(file)[0], {}


def infer_legend(root: Path, paths: Sequence[Path]) -> Legend:
    """Infer the classes from the masks: 0 to the largest value, 255 being unlabelled.

    Raises: DataError, with the values found and the mend, if they can't be class numbers.
    """
    codes_found: set[int] = set()
    palette: dict[int, tuple[str, Path]] = {}
    for path in paths[:: -(-len(paths) // SAMPLED)]:
        present = _present(read_values(path))
        codes_found |= {*present}
        _refuse_differing_palettes(path, present, palette)
    codes = sorted(codes_found - {IGNORE})
    if codes in ([], [0]):
        ignored = ", and 255 marks unlabelled pixels" if IGNORE in codes_found else ""
        raise DataError(
            f"{plain(root)}: its masks hold the values {_list(sorted(codes_found))} only{ignored}: expected two "
            "classes "
            f"or more; if these are classes, add {EXAMPLE}."
        )
    top = codes[-1]
    if top > IGNORE or 2 * len(codes) < top + 1:
        raise DataError(
            f"{plain(root)}: its masks hold the values {_list(sorted(codes_found))}, which can't be the numbers of "
            f"{top + 1} classes: give each value's class in {EXAMPLE}; or list all {top + 1} names there."
        )
    names = tuple(map(str, range(top + 1)))
    return Legend(names, {IGNORE: IGNORE} | {code: code for code in range(top + 1)})


def _refuse_differing_palettes(path: Path, present: Sequence[int], first_colours: dict[int, tuple[str, Path]]) -> None:
    """Reject palettes that differ between masks, since the index then isn't the class.

    Raises: DataError.
    """
    picture = ImageFile(path)
    if picture.mode != "P":
        return
    flat = picture.decode()[0].getpalette() or []
    for index in present:
        colour = to_hex([int(_packed(np.array(flat[3 * index : 3 * index + 3] or [0, 0, 0])))])[0]
        first_colour, first = first_colours.setdefault(index, (colour, path))
        if first_colour != colour:
            raise DataError(
                f"{plain(path)}: colour {index} of its palette is {colour}, but {first_colour} in {plain(first)}, so "
                "the "
                f"palette index isn't the class; give each colour's class in {EXAMPLE}."
            )
