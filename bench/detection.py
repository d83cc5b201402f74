"""The study of detectors: blood cells (BCCD) in small images; a teacher, the student alone, and taught by four methods.

    python bench/detection.py FOLDER [--epochs 24] [--seeds 3] [--out bench/results/detection.md]

FOLDER has BCCD as images/ and annotations.json with a split for each image.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import torch

import tutelage
from tutelage.utils.intervals import confidence_interval, verdict

TEACHER, STUDENT = "fcos-resnet18-64", "fcos-resnet10-32"
METHODS: dict[str, Any] = {
    "pkd": "pkd",
    "fgd": "fgd",
    "mgd": [{"name": "mgd", "mask": "positions", "weight": 2e-5}],
    "bkd": [{"name": "bkd", "weight": 20.0}],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", default="96x128")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keys = {
        "data": f"coco:{options.folder / 'annotations.json'}",
        "size": options.size,
        "batch_size": 16,
        "optimizer": "adamw",
        "lr": 2e-3,
        "epochs": options.epochs,
        "device": "cpu",
        "progress": False,
    }
    folder = Path(tempfile.mkdtemp())
    teacher = tutelage.train(TEACHER, **keys | {"epochs": 2 * options.epochs}, out=folder / "teacher")
    lines = [f"teacher {TEACHER}: {describe(teacher.result['student'])}"]
    alone: list[float] = []
    for name, method in METHODS.items():
        more = {"seeds": options.seeds, "baseline": not alone}
        run = tutelage.distill(
            teacher=str(teacher.folder), student=STUDENT, method=method, **keys, **more, out=folder / name
        )
        if not alone:
            alone = run.result["baseline"]["values"]
            lines.append(f"alone {STUDENT}: {describe(run.result['baseline'])}")
        lines.append(f"{name}: {describe(run.result['student'])}, gain {gain(run.result['student']['values'], alone)}")
        print(lines[-1], flush=True)
    print("\n".join(lines))
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n")
    (folder / "lines.json").write_text(json.dumps(lines))


def describe(summary: dict[str, Any]) -> str:
    values = ", ".join(f"{100 * value:.1f}" for value in summary["values"])
    return f"mAP {100 * mean(summary['values']):.1f} ({values}), {summary['step_ms']:.0f} ms a step"


def gain(values: list[float], alone: list[float]) -> str:
    differences = [100 * (a - b) for a, b in zip(values, alone, strict=True)]
    bounds = confidence_interval(differences)
    half = "" if bounds is None else f" ± {(bounds[1] - bounds[0]) / 2:.1f}"
    return f"{mean(differences):+.1f}{half}: {verdict(differences)}"


if __name__ == "__main__":
    main()
