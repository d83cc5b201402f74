"""Run a study of detectors on small images: a teacher, and a student alone and taught by three methods.

    python bench/detection.py BCCD --out runs/detection

BCCD is the folder of the blood cells: images/ and annotations.json with a split for each image. Every run has its own
folder below --out; finished runs are reused, unfinished ones resumed. The table is written to detection.md below --out.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from real import markdown, rows, run, slug

TEACHER, STUDENT = "fcos-resnet18-64", "fcos-resnet10-32"
METHODS = ("pkd", "fgd", "20*bkd")


def main() -> None:
    """Run everything, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the images and annotations.json")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--size", default="96x128")
    args, start = parser.parse_args(), time.process_time()
    torch.set_num_threads(1)
    keys: dict[str, Any] = {"data": f"coco:{args.folder / 'annotations.json'}", "size": args.size, "device": "cpu"}
    keys |= {"batch_size": 16, "optimizer": "adamw", "lr": 2e-3}
    teacher = run(args.out / "teacher", TEACHER, None, keys | {"epochs": 2 * args.epochs, "seed": 0})
    results: dict[Any, Any] = {"teacher": teacher}
    for seed, method in product(range(args.seeds), ("alone", *METHODS)):
        settings = keys | {"epochs": args.epochs, "seed": seed}
        name, more = (None, {}) if method == "alone" else (method, {"teacher": str(args.out / "teacher")})
        results[STUDENT, method, seed] = run(args.out / f"{slug(method)}-{seed}", STUDENT, name, settings | more)
    table = rows(SimpleNamespace(students=[STUDENT], methods=METHODS, seeds=args.seeds, teacher=TEACHER), results)
    data = teacher["data"]
    lines = [
        "# Detection",
        "",
        f"{data['train']} training and {data['test']} test images of {args.size} pixels; mAP. Mean ± half of the 95 % "
        f"interval over {args.seeds} seeds of the student, one teacher of {2 * args.epochs} epochs, {args.epochs} "
        "of every student; gains paired by seed.",
        "",
        markdown(table, "map"),
        "",
        f"    {shlex.join(['python', *sys.argv])}",
        "",
        f"torch {torch.__version__}; {time.process_time() - start:.0f} s of process time.",
    ]
    (args.out / "detection.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
