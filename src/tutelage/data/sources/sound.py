"""Recordings: sound files in folders by class, with names that tell their labels, or beside a CSV file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from tutelage.data.column_names import refuse_wrong_columns
from tutelage.data.copies import check_copies, digest
from tutelage.data.file_rows import FileRows, row_targets, rows_by_folder
from tutelage.data.grouping import group_numbers
from tutelage.data.labelled_images import Rows
from tutelage.data.listing import list_files, summarise, to_path
from tutelage.data.preparation import SourceData
from tutelage.data.recordings import SUFFIXES, SoundForm, SoundHeader, is_clipped, read_waveform
from tutelage.data.sound_split import SoundSplit
from tutelage.errors import ConfigError, DataError, plain
from tutelage.utils.options import Positive, check_options

NAMES = {
    "sound:PATH": "recordings (wav, flac, ogg) in a folder per class, named by a pattern, or beside a CSV file; "
    "reading={rate: …, seconds: …}"
}

HELD = 2**27
"""The most samples that are held in memory: half a gigabyte."""

LONGEST = 30.0
"""The longest recording, in seconds, whose length all get if none is set."""


@dataclass(frozen=True)
class Reading:
    """The options of `reading`.

    rate: samples a second; None: those of the first file. seconds: the length of all samples; None: the longest
    recording's. resample: convert other rates. mono: average several channels. pattern: the form of the files' names,
    such as "{label}_{speaker}_{take}", whose parts are columns.
    """

    rate: int | None = None
    seconds: float | None = None
    resample: bool = False
    mono: bool = False
    pattern: str = ""


def reading_options(
    name: str,
    rate: Annotated[int, Field(ge=100, le=1_000_000)] | None = None,
    seconds: Positive | None = None,
    resample: bool = False,
    mono: bool = False,
    pattern: str = "",
) -> Reading:
    """Return the options of `reading`."""
    return Reading(rate, seconds, resample, mono, pattern)


def find(
    kind: str,
    where: str,
    size: tuple[int, int] | None,
    *,
    target: str | Sequence[str] = (),
    group: str | None = None,
    drop: Sequence[str] = (),
    task: str | None = None,
    reading: Mapping[str, Any] | None = None,
) -> SourceData:
    """Read the recordings, with their classes, label sets or, for a regression, values.

    A folder has a folder for each class, in train/, val/ and test/ if the data is split; or with `pattern`, files whose
    names have parts. A CSV file has a column `file` and, if the data is split, `split`. The target is the column
    `label`, or `labels` of lists joined by ";", unless `target` names another.
    """
    name = f"data {kind}:{plain(where)}"
    if size is not None:
        raise ConfigError(f"{name}: size={size}: recordings have a length: set reading={{seconds: …}}.")
    check_options(f"{name}: reading", reading_options, reading or {})
    options = reading_options(name, **(reading or {}))
    rows = _rows(to_path(where), options.pattern)
    targets = (target,) if isinstance(target, str) else tuple(target)
    named = [*targets, *drop, *([group] if group else [])]
    refuse_wrong_columns(name, named, rows.header)
    form, labels, floats = row_targets(name, rows, targets, task, {*drop, group}, "sound")
    paths = rows.files(SUFFIXES, "sound file")
    groups = None if group is None else group_numbers(rows.filled_column(group))
    splits = rows.splits()
    sound, waveforms, notes = _read(name, paths, options)
    if waveforms is not None:
        target_of = labels if floats is None else floats
        assert target_of is not None
        digests = [digest(waveform) for waveform in waveforms]
        others = [plain(cell) for cell in rows.column(rows.file_column)]
        notes += check_copies(plain(rows.path), "recording", "samples", others, digests, target_of, splits, rows.fault)
        notes += _describe_clipped(name, paths, waveforms)
    samples = SoundSplit(paths, sound, waveforms, labels=labels, targets=floats, groups=groups)
    divided = {split: samples.take(numbers) for split, numbers in splits.items()}
    return replace(form, size=(sound.length,), splits=divided, notes=notes)


def _rows(path: Path, pattern: str) -> Rows:
    """Return a row for each recording.

    Raises: DataError if there are none.
    """
    if path.is_file():
        return Rows.read(path)
    files = sorted(list_files(path, SUFFIXES).paths) if path.is_dir() else []
    if not files:
        raise DataError(f"{plain(path)}: has no recordings: expected a folder of {', '.join(sorted(SUFFIXES))}, or a "
                        "CSV file with a column file.")  # fmt: skip
    if pattern:
        return _rows_by_pattern(path, files, pattern)
    return rows_by_folder(path, files, ", a pattern of names (reading={pattern: …})")


def _rows_by_pattern(root: Path, files: Sequence[Path], pattern: str) -> Rows:
    """Return rows with a column for each part of the files' names.

    Raises: ConfigError for a pattern without parts; DataError for a name that doesn't fit.
    """
    parts = re.findall(r"\{(\w+)\}", pattern)
    if not parts or len({*parts, "file"}) <= len(parts) or not all(part.isidentifier() for part in parts):
        raise ConfigError(f"reading: pattern={pattern!r}: expected different parts in braces: {{label}}_{{speaker}}.")
    form = re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+?)", re.escape(pattern)))
    cells = []
    for path in files:
        match = form.fullmatch(path.stem)
        if match is None:
            raise DataError(f"{plain(path)}: its name doesn't fit pattern={pattern!r}: rename or remove it.")
        cells.append([str(path), *(match[part] for part in parts)])
    return FileRows(root, ["file", *parts], cells, range(len(cells)))


def _read(name: str, paths: Sequence[Path], options: Reading) -> tuple[SoundForm, list[Tensor] | None, list[str]]:
    """Return the form of all recordings, these themselves if there is memory for them, and notes.

    Raises: DataError that names a file that can't be used.
    """
    headers = [SoundHeader.read(path) for path in paths]
    rate = options.rate or headers[0].rate
    for header in headers:
        header.refuse_other(rate, options.resample, options.mono)
    lengths = torch.tensor([header.samples_at(rate) for header in headers])
    longest = int(lengths.max())
    if options.seconds is None and longest > LONGEST * rate:
        raise ConfigError(
            f"{name}: {plain(headers[int(lengths.argmax())].path)} lasts {longest / rate:.0f} s: set "
            "reading={seconds: …}, the length of all samples."
        )
    length = longest if options.seconds is None else max(1, round(options.seconds * rate))
    form = SoundForm(rate, length, options.resample, options.mono)
    notes = []
    if short := int((lengths < length).sum()):
        padding = float((1 - lengths / length).clamp(min=0).sum() / short)
        notes.append(
            f"{name}: {short:,} of {len(paths):,} recordings are shorter than {length / rate:g} s; zeros follow them, "
            f"{padding:.0%} of such a sample on average."
        )
    if len(kinds := sorted({header.subtype for header in headers})) > 1:
        notes.append(f"{name}: the files have samples of several forms ({', '.join(kinds)}): do classes differ by it?")
    held = int(lengths.sum()) <= HELD
    return form, [read_waveform(path, form) for path in paths] if held else None, notes


def _describe_clipped(name: str, paths: Sequence[Path], waveforms: Sequence[Tensor]) -> list[str]:
    """Return a note on recordings that are clipped."""
    clipped = [path.name for path, waveform in zip(paths, waveforms, strict=True) if is_clipped(waveform)]
    return [f"{name}: {len(clipped)} recording(s) are clipped: {summarise(clipped, 3)}."] if clipped else []
