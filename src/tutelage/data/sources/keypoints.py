"""Images beside a CSV or JSON file with the places of named points."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tutelage.data.decode import ImageFile, read_headers
from tutelage.data.heatmaps import HeatmapOptions, keypoint_data
from tutelage.data.image_files import ImageFileSplit
from tutelage.data.labelled_images import FILE_COLUMNS, Rows
from tutelage.data.listing import to_path
from tutelage.data.preparation import SourceData
from tutelage.data.sources.folder import PHOTO
from tutelage.data.splits import Split
from tutelage.errors import DataError, plain

NAMES = {
    "keypoints:FILE": "images beside a CSV (file, NAME_x, NAME_y, split) or JSON file with points in pixels; "
    "heatmaps={sigma: 1.5, flip_pairs: [[1, 2]]}"
}

SMALL = 256


def suits(path: Path) -> bool:
    """Return True if a path may be meant for this source."""
    return path.suffix in (".csv", ".json") and path.is_file()


def find(
    kind: str, where: str, size: tuple[int, int] | None, *, heatmaps: Mapping[str, Any] | None = None
) -> SourceData:
    """Load the images; those of one size up to 256 pixels are held in memory.

    The columns of a CSV file are `file`, for each point NAME_x and NAME_y in pixels from the top left corner's centre,
    and `split`. A JSON file has `points`, their names, and `images`, each {file, points: [[x, y] or null, …], split}.
    """
    path, options = to_path(where), HeatmapOptions.of(heatmaps)
    rows = _from_json(path) if path.suffix == ".json" else Rows.read(path)
    names = _names(rows)
    files = rows.files()
    headers = read_headers(files)
    one_size = len(headers.sizes) == 1
    small = one_size and headers.fits(SMALL, len(files))
    shape = size or (headers.largest if one_size else PHOTO)
    points = torch.stack([_points(rows, row, file, names) for row, file in enumerate(files)]).flatten(1)
    images = ImageFileSplit(files, headers.channels, shape, targets=points)
    samples: Split = images.stored(shape) if small else images
    splits = {split: samples.take(numbers) for split, numbers in rows.splits().items()}
    return keypoint_data(names, splits, options, shape, "crop-flip")


def _names(rows: Rows) -> list[str]:
    """Return the names of the points.

    Raises: DataError for columns without a partner, or none.
    """
    columns = [c for c in rows.header if c not in ("split", rows.file_column)]
    names = [c.removesuffix("_x") for c in columns if c.endswith("_x")]
    expected = {f"{name}_{axis}" for name in names for axis in "xy"}
    if not names or {*columns} != expected:
        odd = sorted(expected ^ {*columns}) or columns
        raise DataError(
            f"{plain(rows.path)}: the columns are {', '.join(rows.header)}: expected NAME_x and NAME_y for each point, "
            f"beside the file and split; these don't fit: {', '.join(odd) or 'none is there'}."
        )
    return names


def _points(rows: Rows, row: int, file: Path, names: Sequence[str]) -> Tensor:
    """Return a row's points (K, 2) as fractions of the image's width and height; NaN if they aren't visible.

    Raises: DataError for a point outside the image, or a cell that isn't a number.
    """
    picture, cells = ImageFile(file), dict(zip(rows.header, rows.cells[row], strict=True))
    points = torch.full((len(names), 2), torch.nan)
    for number, name in enumerate(names):
        both = cells[f"{name}_x"], cells[f"{name}_y"]
        if both == ("", ""):
            continue
        try:
            x, y = map(float, both)
        except ValueError:
            raise rows.fault(row, f"{name} is {both}: expected two numbers, or nothing if it isn't visible.") from None
        if not (-0.5 <= x <= picture.width - 0.5 and -0.5 <= y <= picture.height - 0.5):
            raise rows.fault(
                row,
                f"{name} is at ({x:g}, {y:g}), outside of the image of {picture.width}×{picture.height}: expected a "
                "place in pixels, or nothing if it isn't visible.",
            )
        points[number] = torch.tensor([(x + 0.5) / picture.width, (y + 0.5) / picture.height])
    return points


def _from_json(path: Path) -> Rows:
    """Return a JSON file's images as rows.

    Raises: DataError if it has another form.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        names, images = [str(name) for name in content["points"]], list(content["images"])
        header = [FILE_COLUMNS[0], *(["split"] if any("split" in image for image in images) else [])]
        cells = [[str(image[key]) for key in header] + _cells(image["points"], names) for image in images]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{plain(path)}: isn't of the expected form ({plain(repr(error))}): expected points, a list of names, and "
            "images, a list of {file, points: [[x, y] or null, …]} with a place for each name."
        ) from error
    if not images:
        raise DataError(f"{plain(path)}: has no images: expected some.")
    header += [f"{name}_{axis}" for name in names for axis in "xy"]
    return Rows(path, header, cells, range(1, len(cells) + 1))


def _cells(points: Sequence[Sequence[float] | None], names: Sequence[str]) -> list[str]:
    if len(points) != len(names):
        raise ValueError(f"{len(points)} points for {len(names)} names")
    pairs = [("", "") if point is None else (point[0], point[1]) for point in points]
    return [str(value) for pair in pairs for value in pair]
