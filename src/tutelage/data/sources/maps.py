"""Folders of images and of maps of values that go with them: depth, flow, density, clean images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tutelage.data.decode import ImageHeaders, read_headers
from tutelage.data.listing import SPLITS, Listing, list_images, refuse_shared, subfolders, summarise, to_path
from tutelage.data.map_files import SUFFIXES, MapFileSplit, MapReader
from tutelage.data.map_targets import IMAGES, KINDS, MapForm
from tutelage.data.preparation import SourceData, restored
from tutelage.data.sources.folder import PHOTO
from tutelage.errors import DataError, plain

NAMES = {
    "maps:PATH": "images/ and depth/, flow/, density/ or clean/ with a map for each image (.npy, 16-bit PNG …), in "
    "train/, val/ and test/ if the data is split; maps.json: scale, unknown, kinds, names"
}

SMALL = 256
FIRST, SECOND, FILE = "images", "images2", "maps.json"


@dataclass(frozen=True)
class Layout:
    """A folder of maps: the task, its channels' kinds, the number that isn't known, and the least value."""

    task: str
    kinds: tuple[str, ...] = ("value",)
    unknown: float | None = None
    least: float | None = None
    pictures: bool = False


LAYOUTS = {
    "depth": Layout("depth", unknown=0.0, least=1e-12),
    "density": Layout("density", ("mass",), least=0.0),
    "flow": Layout("flow", ("x", "y")),
    "clean": Layout("restoration", pictures=True),
}
"""The folders of maps by name, beside `images`."""


def suits(path: Path) -> bool:
    """Return True if a path may be meant for this source."""
    return path.is_dir() and bool(_map_folders(path))


def find(kind: str, where: str, size: tuple[int, int] | None) -> SourceData:
    """Load images and maps; images of one size up to 256 pixels are held in memory, others are read on demand."""
    root = to_path(where)
    subfolders(root)
    folders = _map_folders(root)
    if "train" not in folders:
        has = f"has {' and '.join(folders)} but no train" if folders else "no images with maps"
        known = "/, ".join(LAYOUTS)
        raise DataError(f"{plain(root)}: {has}: expected train/images/ or images/ with one of {known}/ beside it.")
    name = folders["train"].name
    layout, options = LAYOUTS[name], _options(root / FILE)
    listings = {split: list_images(maps.parent / FIRST) for split, maps in folders.items()}
    refuse_shared(root, listings)
    triples = {split: _samples(listings[split], maps) for split, maps in folders.items()}
    headers = read_headers([images[0] for images, _ in triples["train"]])
    kinds = tuple(options.get("kinds", layout.kinds))
    names = _channel_names(layout, options, kinds, [path for _, path in triples["train"]])
    kinds = kinds * len(names) if len(kinds) == 1 else kinds
    reader = MapReader(
        MapForm(kinds),
        float(options.get("scale", 1.0)),
        options.get("unknown", layout.unknown),
        layout.least,
        layout.pictures,
    )
    splits, shape = _splits(triples, reader, headers, size)
    found = SourceData(layout.task, (), shape, "crop-flip", splits, target="map", value_names=names)
    found = replace(found, map_form=reader.form)
    return restored(found, headers.channels) if layout.pictures else found


def _map_folders(root: Path) -> dict[str, Path]:
    """Return each split's folder of maps, beside its folder of images; empty if there are none."""
    found = {
        split: root / name / maps
        for split, names in SPLITS.items()
        for name in names
        for maps in LAYOUTS
        if (root / name / maps).is_dir() and (root / name / FIRST).is_dir()
    }
    whole = [root / maps for maps in LAYOUTS if (root / maps).is_dir() and (root / FIRST).is_dir()]
    return found or ({"train": whole[0]} if whole else {})


def _options(path: Path) -> dict[str, Any]:
    """Return the options in maps.json; {} if there is none.

    Raises: DataError for others than scale, unknown, kinds and names, or values of another form.
    """
    if not path.is_file():
        return {}
    try:
        options = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{plain(path)}: can't be read ({plain(error)}): expected a JSON object.") from error
    checks: dict[str, Callable[[Any], Any]] = {
        "scale": lambda x: isinstance(x, int | float) and not isinstance(x, bool) and x > 0,
        "unknown": lambda x: x is None or isinstance(x, int | float),
        "kinds": lambda x: isinstance(x, list) and x and all(k in KINDS for k in x),
        "names": lambda x: isinstance(x, list) and x and len({*map(str, x)}) == len(x),
    }
    entries = options.items() if isinstance(options, dict) else [("", options)]
    if wrong := [key for key, value in entries if key not in checks or not checks[key](value)]:
        raise DataError(
            f"{plain(path)}: {wrong[0]!r}: expected scale (a number above 0), unknown (the stored number that means "
            f"not known), kinds (a list of {', '.join(KINDS)}) and names (of the channels)."
        )
    return dict(options)


def _channel_names(
    layout: Layout, options: Mapping[str, Any], kinds: tuple[str, ...], maps: list[Path]
) -> tuple[str, ...]:
    """Return the names of the maps' channels.

    Raises: DataError if there are others than kinds.
    """
    numbered = tuple(f"{layout.task}{number or ''}" for number in range(len(kinds)))
    default: tuple[str, ...] = kinds if len({*kinds}) == len(kinds) > 1 else numbered
    if layout.pictures:
        channels = read_headers(maps).channels
        default = next(names for names in IMAGES if len(names) == channels)
    names = tuple(map(str, options.get("names", default)))
    if len(kinds) not in (1, len(names)):
        raise DataError(f"{FILE}: names {list(names)} and kinds {list(kinds)}: expected one kind for each name.")
    return names


def _samples(images: Listing, maps: Path) -> list[tuple[tuple[Path, ...], Path]]:
    """Return each sample's images and map: files of the same name, whatever their suffixes.

    Raises: DataError if there are none, or some have no partner.
    """
    second = maps.parent / SECOND
    files = {path.stem: path for path in sorted(maps.iterdir()) if path.suffix.lower() in (*SUFFIXES, ".jpg", ".jpeg")}
    parts = [{path.stem: path for path in images.paths}, files]
    if second.is_dir():
        parts.append({path.stem: path for path in list_images(second).paths})
    if not parts[0]:
        raise DataError(f"{plain(images.folder)}: no images: add some, or remove the folder.")
    every = {stem for part in parts for stem in part}
    if unpaired := sorted(stem for stem in every if any(stem not in part for part in parts)):
        raise DataError(
            f"{plain(images.folder)} and {plain(maps)}: {len(unpaired)} name(s) that aren't in each folder: "
            f"{summarise(unpaired)}; add, rename or remove."
        )
    return [((path, *(part[stem] for part in parts[2:])), files[stem]) for stem, path in sorted(parts[0].items())]


def _splits(
    samples: Mapping[str, list[tuple[tuple[Path, ...], Path]]],
    reader: MapReader,
    headers: ImageHeaders,
    size: tuple[int, int] | None,
) -> tuple[dict[str, Any], tuple[int, int]]:
    """Return the splits, in memory if the images are small and of one size, and the images' size."""
    one_size = len(headers.sizes) == 1
    small = one_size and headers.fits(SMALL, sum(map(len, samples.values())))
    shape = size or (headers.largest if one_size else PHOTO)
    images, first = samples["train"][0]
    side = read_headers([images[0]]).largest[1]
    times = max(1, reader.read(first).shape[2] // side)
    files = {
        split: MapFileSplit([x for x, _ in of_split], [y for _, y in of_split], reader, headers.channels, shape, times)
        for split, of_split in samples.items()
    }
    return {split: x.stored() if small else x for split, x in files.items()}, shape
