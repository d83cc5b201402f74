"""Masks in files: what the values or colours of their pixels mean."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.data.decode import Picture
from tutelage.data.listing import some
from tutelage.data.preparation import class_lists
from tutelage.data.splits import IGNORE
from tutelage.errors import DataError, plain

VOID = ("void", "ignore", "unlabelled", "unlabeled")
LOSSY = ("JPEG", "MPO")
COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
TOP = 2**16
LOOKED_AT = 1000
"""Masks from which the classes are taken where nobody says them."""
EXAMPLE = 'classes.json: {"background": 0, "object": 255}, or with colours {"road": "#804080", "void": "#000000"}'

Codes = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


@dataclass(frozen=True)
class Legend:
    """What pixels mean: meaning[code] is a class or IGNORE, other codes mean nothing.

    coloured: codes are 0xRRGGBB instead of a mask's own values. mapped: somebody said the codes, not only the names.
    """

    classes: tuple[str, ...]
    meaning: Mapping[int, int]
    coloured: bool = False
    mapped: bool = False

    @cached_property
    def _table(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
        table = np.full(2**24 if self.coloured else TOP, -1, dtype=np.int16)
        table[list(self.meaning)] = list(self.meaning.values())
        return table

    def read(self, path: Path) -> Tensor:
        """(H, W) uint8 classes, 255 where nothing is known; DataError for codes without a meaning."""
        codes = colours(path) if self.coloured else values(path)
        meant = self._table[codes]
        if (meant < 0).any():
            what = "colours" if self.coloured else "values"
            raise DataError(
                f"{plain(path)}: has the {what} {self._said(_present(codes[meant < 0]))}, but only "
                f"{self._said(sorted(self.meaning))} mean something: correct the mask, or name the class in "
                'classes.json ("void" if it doesn\'t count).'
            )
        return torch.from_numpy(meant.astype(np.uint8))

    def _said(self, codes: Sequence[int]) -> str:
        return _few(hexes(codes) if self.coloured else codes)


@dataclass(frozen=True)
class Masks:
    """Masks in files, beside the images."""

    paths: tuple[Path, ...]
    legend: Legend

    def read(self, number: int) -> Tensor:
        """One mask's classes."""
        return self.legend.read(self.paths[number])


def values(path: Path) -> Codes:
    """The values of a mask, (H, W) from 0: of one channel, of a palette the indices, of three alike any of them."""
    array, mode = _pixels(path)
    if array.ndim == 3:
        array = array[..., : 1 if mode == "LA" else 3]
        if (array != array[..., :1]).any():
            raise DataError(
                f"{plain(path)}: mode {mode}: its pixels are colours: {some(hexes(_present(_packed(array))), 8)}; "
                f"expected one integer from 0 to 255 a pixel, or say which class each colour is, in {EXAMPLE}."
            )
        array = array[..., 0]
    if array.dtype.kind not in "bui" or array.min() < 0 or array.max() >= TOP:
        raise DataError(
            f"{plain(path)}: mode {mode}, from {array.min()} to {array.max()}: expected a mask of one integer from 0 "
            "to 255 a pixel."
        )
    return array.astype(np.int64)


def colours(path: Path) -> Codes:
    """The colours of a mask, 0xRRGGBB (H, W)."""
    picture = _exact(path)
    return _packed(np.array(picture.decoded()[0].convert("RGB")))


def _pixels(path: Path) -> tuple[Any, str]:
    picture = _exact(path)
    return np.array(picture.decoded()[0]), picture.mode


def _exact(path: Path) -> Picture:
    """A mask's file; refused if its format doesn't keep values."""
    picture = Picture(path)
    if picture.format in LOSSY:
        found = _present(np.array(picture.decoded()[0].convert("L")))
        raise DataError(
            f"{plain(path)}: a mask as {picture.format}, which blurs its values ({len(found)} of them: {_few(found)}): "
            "save masks as PNG."
        )
    return picture


def _packed(rgb: Any) -> Codes:
    red, green, blue = (rgb[..., i].astype(np.int64) for i in range(3))
    return red << 16 | green << 8 | blue


def _present(codes: Any) -> list[int]:
    """The codes that there are, in order."""
    return np.flatnonzero(np.bincount(codes.ravel())).tolist()


def hexes(codes: Iterable[int]) -> list[str]:
    """Colours as #rrggbb."""
    return [f"#{code:06x}" for code in codes]


def _few(codes: Sequence[object]) -> str:
    return f"[{some(list(codes), 12)}]"


def legend(file: Path) -> Legend:
    """What a classes.json says: a list of names, whose values are their places, or each name's values or colours.

    Raises: DataError if it says something else.
    """
    names, said = _said(file)
    classes = tuple(name for name in names if name.lower() not in VOID)
    if len(classes) > IGNORE:
        raise DataError(f"{plain(file)}: {len(classes)} classes: expected at most {IGNORE}.")
    meaning: dict[int, int] = {}
    for name in names:
        means = IGNORE if name.lower() in VOID else classes.index(name)
        for code in said.get(name, [names.index(name)]):
            number = int(code[1:], 16) if isinstance(code, str) else code
            if meaning.setdefault(number, means) != means:
                raise DataError(f"{plain(file)}: {code} is said of two classes: expected one.")
    coloured = any(isinstance(code, str) for codes in said.values() for code in codes)
    return Legend(classes, meaning if coloured else {IGNORE: IGNORE} | meaning, coloured, bool(said))


def _said(file: Path) -> tuple[list[str], dict[str, list[Any]]]:
    """The names, and the codes of each if it is a mapping of codes."""
    try:
        loaded = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        loaded = None  # class_lists says why
    said = {n: v if isinstance(v, list) else [v] for n, v in loaded.items()} if isinstance(loaded, dict) else {}
    flat = [code for codes in said.values() for code in codes]
    coloured = [isinstance(code, str) and bool(COLOUR.fullmatch(code)) for code in flat]
    valued = [isinstance(code, int) and not isinstance(code, bool) and 0 <= code < TOP for code in flat]
    if flat and (all(coloured) or all(valued)):
        return list(said), said
    if any(coloured) or any(valued):
        odd = [code for code, c, v in zip(flat, coloured, valued, strict=True) if not (v if any(valued) else c)]
        raise DataError(
            f"{plain(file)}: {some(odd, 3)}: expected values from 0, or colours #rrggbb, of each class and all of one "
            f"kind, such as {EXAMPLE}."
        )
    return class_lists(file)[0], {}


def legend_of(root: Path, paths: Sequence[Path]) -> Legend:
    """What the masks themselves show: as many classes as the largest value says, 255 being none.

    Raises: DataError, with what was found and the mend, if they can't be meant so.
    """
    found: set[int] = set()
    palette: dict[int, tuple[str, Path]] = {}
    for path in paths[:: -(-len(paths) // LOOKED_AT)]:
        present = _present(values(path))
        found |= {*present}
        _same_palette(path, present, palette)
    codes = sorted(found - {IGNORE})
    if codes in ([], [0]):
        seen = f"hold the values {_few(sorted(found))} only"
        meant = ", and 255 means that nothing is known" if IGNORE in found else ""
        raise DataError(
            f"{plain(root)}: its masks {seen}{meant}: expected two classes or more; if they are, say {EXAMPLE}."
        )
    top = codes[-1]
    if top > IGNORE or 2 * len(codes) < top + 1:
        raise DataError(
            f"{plain(root)}: its masks hold the values {_few(sorted(found))}, which can't be the numbers of "
            f"{top + 1} classes: say what they are, in {EXAMPLE}; or list all {top + 1} names there."
        )
    names = tuple(map(str, range(top + 1)))
    return Legend(names, {IGNORE: IGNORE} | {code: code for code in range(top + 1)})


def _same_palette(path: Path, present: Sequence[int], known: dict[int, tuple[str, Path]]) -> None:
    """Refuse palettes that differ, for then the index isn't the class."""
    picture = Picture(path)
    if picture.mode != "P":
        return
    flat = picture.decoded()[0].getpalette() or []
    for index in present:
        colour = hexes([int(_packed(np.array(flat[3 * index : 3 * index + 3] or [0, 0, 0])))])[0]
        other, first = known.setdefault(index, (colour, path))
        if other != colour:
            raise DataError(
                f"{plain(path)}: colour {index} of its palette is {colour}, in {plain(first)} {other}: so the number "
                f"isn't the class; say which class each colour is, in {EXAMPLE}."
            )
