"""Few labelled and many unlabelled images: a student alone, taught on labelled images, and taught on both.

    python bench/unlabelled.py EUROSAT --out runs/unlabelled [--seeds 3] [--epochs 20]

EUROSAT has train/CLASS/*.jpg and test/CLASS/*.jpg. Of its 2,000 training images 40 are labelled (4 of each class), and
10 validate; the others are unlabelled. The teacher has learned from the same 40 labels, or from the labels of all (it
stands for one that came trained). Writes bench/results/unlabelled.md; finished runs are read, not repeated.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

import tutelage
from tutelage.utils.intervals import confidence_interval, verdict

LABELLED = 5
"""The images of each class, of which one validates."""

KEYS: dict[str, Any] = {
    "student": "cnn4", "size": 32, "augment": "crop-flip", "batch_size": 64, "lr": 0.05, "device": "cpu",
    "keep": "last", "log_every": 50, "val": 0.2,
}  # fmt: skip

WAYS: dict[str, tuple[bool, Any]] = {
    "kd, labelled images alone": (False, "kd"),
    "kd, all images": (True, "kd"),
    "pseudo_label, unlabelled images": (True, [{"name": "pseudo_label", "stream": "unlabelled"}]),
    "pseudo_label from 0.8 on": (True, [{"name": "pseudo_label", "stream": "unlabelled", "threshold": 0.8}]),
}
"""Each row: whether there is a stream of unlabelled images, and the method."""


def divide(source: Path, folder: Path) -> tuple[str, str]:
    """Copy the first images of each class as labelled, the next ones as unlabelled; return the names of the data."""
    for path in sorted((source / "train").iterdir()):
        images = sorted(path.glob("*.jpg"))
        parts = {"labelled/train": images[:LABELLED], "more": images[LABELLED:]}
        for part, files in parts.items():
            target = folder / part / (path.name if part != "more" else "")
            target.mkdir(parents=True, exist_ok=True)
            for file in files:
                shutil.copyfile(file, target / f"{path.name}-{file.name}")
    shutil.copytree(source / "test", folder / "labelled" / "test", dirs_exist_ok=True)
    return f"folder:{folder}/labelled", f"images:{folder}/more"


def teachers(source: Path, labelled: str, out: Path, epochs: int) -> dict[str, str]:
    """Train the two teachers, unless they are there, and return their folders."""
    keys = {key: value for key, value in KEYS.items() if key != "student"}
    data = {"40 labels": (labelled, 20 * epochs), "all labels": (f"folder:{source}", epochs)}
    for name, (where, long) in data.items():
        folder = out / f"teacher-{name.partition(' ')[0]}"
        if not (folder / "result.json").exists():
            tutelage.train("cnn32", **keys, data=where, epochs=long, out=str(folder))
    return {name: str(out / f"teacher-{name.partition(' ')[0]}") for name in data}


def accuracies(folder: Path, keys: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Run, unless it is done, and return the accuracy in percent of each seed: alone, and taught."""
    if not (folder / "result.json").exists():
        tutelage.distill(**keys, out=str(folder))
    result = json.loads((folder / "result.json").read_text("utf-8"))
    alone, taught = ([100 * x for x in (result[role] or {"values": []})["values"]] for role in ("baseline", "student"))
    return alone, taught


def row(name: str, values: list[float], alone: list[float]) -> str:
    """Return a line of the table."""
    bounds = confidence_interval(values)
    mean = f"{fmean(values):.1f}" + (f" ± {(bounds[1] - bounds[0]) / 2:.1f}" if bounds else "")
    if values is alone:
        return f"| {name} | {mean} | | |"
    gains = [x - y for x, y in zip(values, alone, strict=True)]
    bounds = confidence_interval(gains)
    gain = f"{fmean(gains):+.1f}" + (f" ± {(bounds[1] - bounds[0]) / 2:.1f}" if bounds else "")
    return f"| {name} | {mean} | {gain} | {verdict(gains)} |"


def main() -> None:
    """Run the study and write its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/unlabelled"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "unlabelled.md")
    arguments = parser.parse_args()
    labelled, more = divide(arguments.source, arguments.out / "data")
    described = ", ".join(f"{key}={value}" for key, value in KEYS.items())
    lines = [
        "# 40 labelled and 1,950 unlabelled images", "",
        f"EuroSAT; {described}; {arguments.epochs} epochs of the unlabelled images, a quarter of each batch labelled; "
        f"{arguments.seeds} seeds; accuracy on the test split in percent, last epoch; gains are paired by seed.", "",
    ]  # fmt: skip
    for name, teacher in teachers(arguments.source, labelled, arguments.out, arguments.epochs).items():
        keys = KEYS | {"teacher": teacher, "seeds": arguments.seeds, "epochs": arguments.epochs}
        lines += [f"## A teacher of {name}", "", "| student | accuracy | gain over alone | |", "|---|---:|---:|---|"]
        known = 100 * json.loads((Path(teacher) / "result.json").read_text("utf-8"))["student"]["accuracy"]
        lines.append(f"| the teacher itself | {known:.1f} | | |")
        alone: list[float] = []
        for number, (way, (has_stream, method)) in enumerate(WAYS.items()):
            streams = {"labelled": {"source": labelled, "share": 0.25}, "unlabelled": more}
            few = {"data": labelled, "batch_size": 16, "epochs": arguments.epochs * 41 // 3}  # as many steps
            more_keys = {"data": streams, "baseline": False} if has_stream else few
            folder = arguments.out / f"{name.partition(' ')[0]}-{number}"
            baseline, taught = accuracies(folder, keys | more_keys | {"method": method})
            if number == 0:
                alone = baseline
                lines.append(row("alone, labelled images", alone, alone))
            lines.append(row(way, taught, alone))
        lines.append("")
        arguments.results.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
