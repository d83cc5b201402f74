"""Multi-label and imbalanced EuroSAT: a teacher, the student alone and three ways to teach it, over several seeds.

    python bench/labels.py EUROSAT --out runs/labels [--study pairs|imbalanced] [--seeds 3]

EUROSAT has train/CLASS/*.jpg and test/CLASS/*.jpg. `pairs`: two images side by side, with the classes of both as
labels. `imbalanced`: the training images of the classes thinned exponentially, the most frequent 50 times the rarest;
the test images are as many of each class, and the teacher is trained on balanced draws. Writes
bench/results/labels.md; finished runs are read, not repeated.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image

import tutelage
from tutelage.utils.intervals import confidence_interval

RATIO = 50
"""The most frequent class's number of images, of the rarest's."""

BASE: dict[str, Any] = {
    "student": "cnn4", "batch_size": 32, "lr": 0.05, "device": "cpu", "log_every": 50, "keep": "last",
}  # fmt: skip

STUDIES: dict[str, dict[str, Any]] = {
    "pairs": {
        "keys": {"teacher": "cnn32", "size": "32x64", "augment": "crop-flip", "epochs": 10},
        "teacher_epochs": 20,
        "ways": {
            "bkd": {"method": "bkd"},
            "logit_mse": {"method": "logit_mse"},
            "bkd + rkd": {"method": "bkd+rkd"},
        },
        "figures": ("map", "macro_f1", "micro_f1"),
    },
    "imbalanced": {
        "keys": {"teacher": "cnn32", "size": 32, "augment": "crop-flip", "epochs": 16},
        "teacher_epochs": 30,
        "teacher_keys": {"balance": True},
        "ways": {
            "kd": {"method": "kd"},
            "kd, class_weights=balanced": {"method": "kd", "class_weights": "balanced", "baseline": True},
            "kd, balance=true": {"method": "kd", "balance": True, "baseline": True},
        },
        "figures": ("accuracy", "macro_f1", "rare recall"),
    },
}


def images_of(folder: Path) -> list[tuple[Path, str]]:
    """Return the images of a split with their classes, in a fixed order."""
    return [(path.resolve(), path.parent.name) for path in sorted(folder.glob("*/*.jpg"))]


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> str:
    """Write the file, and return the data's name."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return f"labelled-images:{path}"


def pairs(source: Path, folder: Path) -> str:
    """Write two images side by side, each image once, with both classes as labels."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for split in ("train", "test"):
        images = images_of(source / split)
        order = np.random.default_rng(0).permutation(len(images)).reshape(-1, 2).tolist()
        for number, chosen in enumerate(order):
            sides = [np.asarray(Image.open(images[i][0]).convert("RGB")) for i in chosen]
            name = f"{split}{number:04d}.png"
            Image.fromarray(np.concatenate(sides, axis=1)).save(folder / "images" / name)
            rows.append([name, split, ";".join(sorted({images[i][1] for i in chosen}))])
    return write_csv(folder / "pairs.csv", ["file", "split", "labels"], rows)


def imbalanced(source: Path, folder: Path) -> str:
    """Name fewer training images of each next class, and all test images."""
    folder.mkdir(parents=True, exist_ok=True)
    by_class: dict[str, list[Path]] = {}
    for path, name in images_of(source / "train"):
        by_class.setdefault(name, []).append(path)
    rows = []
    for rank, (name, paths) in enumerate(by_class.items()):
        count = round(len(paths) * RATIO ** (-rank / (len(by_class) - 1)))
        rows += [[str(path), "train", name] for path in paths[:count]]
    rows += [[str(path), split, name] for split in ("test",) for path, name in images_of(source / split)]
    return write_csv(folder / "imbalanced.csv", ["file", "split", "label"], rows)


def figures_of(folder: Path, role: str, study: str) -> list[dict[str, float]]:
    """Return a role's figures by seed, with the mean recall of the three rarest classes of the imbalanced study."""
    found = []
    for path in sorted(folder.glob("*/phase.json")):
        phase = json.loads(path.read_text("utf-8"))
        if phase["role"] == role:
            figures = dict(phase["figures"])
            if study == "imbalanced":
                figures["rare recall"] = float(np.load(path.parent / "tables.npz")["recall"][-3:].mean())
            found.append(figures)
    return found


def run(study: str, source: Path, out: Path, seeds: int) -> dict[str, list[dict[str, float]]]:
    """Train what isn't trained yet; return each model's figures by seed."""
    plan, made = STUDIES[study], {"pairs": pairs, "imbalanced": imbalanced}
    keys = BASE | plan["keys"] | {"data": made[study](source, out / study)}
    teacher = out / study / "teacher"
    if not (teacher / "result.json").exists():
        alone = {key: value for key, value in keys.items() if key not in ("teacher", "student", "epochs")}
        tutelage.train(
            keys["teacher"], **alone | plan.get("teacher_keys", {}), epochs=plan["teacher_epochs"], out=str(teacher)
        )
    results = {"teacher": figures_of(teacher, "student", study) or figures_of(teacher, "baseline", study)}
    for number, (way, options) in enumerate(plan["ways"].items()):
        folder = out / study / f"way{number}"
        if not (folder / "result.json").exists():
            more = {"baseline": number == 0, "teacher": str(teacher), "seeds": seeds} | options
            tutelage.distill(**(keys | more), out=str(folder))
        if alone_figures := figures_of(folder, "baseline", study):
            results["alone" + way.partition("kd")[2] if number else "alone"] = alone_figures
        results[way] = figures_of(folder, "student", study)
    return results


def table(study: str, results: dict[str, list[dict[str, float]]]) -> list[str]:
    """Return the lines of a study's table: means with the half-width of their 95 % intervals, in percent."""
    names = STUDIES[study]["figures"]
    lines = [f"| model | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for model, seeds in results.items():
        cells = []
        for name in names:
            values = [100 * figures[name] for figures in seeds]
            bounds = confidence_interval(values)
            cells.append(f"{fmean(values):.1f}" + (f" ± {(bounds[1] - bounds[0]) / 2:.1f}" if bounds else ""))
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Run the studies that were chosen, and write the tables of all that are finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/labels"))
    parser.add_argument("--study", choices=[*STUDIES], action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "labels.md")
    arguments = parser.parse_args()
    lines = ["# Labels", "", "Written by `python bench/labels.py EUROSAT`; test split, percent, 95 % intervals.", ""]
    for study in arguments.study or STUDIES:
        results = run(study, arguments.source, arguments.out, arguments.seeds)
        keys = BASE | STUDIES[study]["keys"]
        described = ", ".join(f"{key}={value}" for key, value in keys.items())
        lines += [f"## {study}", "", f"{described}; {arguments.seeds} seeds.", "", *table(study, results), ""]
        arguments.results.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
