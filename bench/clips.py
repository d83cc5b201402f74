"""Run a study of clips: moving shapes whose class is the shape and the way that it moves.

    python bench/clips.py --out runs/clips

A square or a cross of 4 pixels moves left, right, up or down over noise in 12 × 12 grey frames, which are made first:
8 classes. Parts: 0: a network of three dimensions teaches a narrow one; 1: one that sees 6 frames teaches one that sees
2 of them; 2: it teaches a network of images that is run on each frame, which can't tell the way. Every run has its own
folder below --out; finished runs are reused, unfinished ones resumed. Metrics are those of the last epoch on the test
split; written to clips.md below --out.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from real import run, section, slug

SIDE, FRAMES, SHAPE = 12, 8, 4
SHAPES = {"square": np.ones((SHAPE, SHAPE), bool), "cross": np.eye(SHAPE, dtype=bool) | np.eye(SHAPE, dtype=bool)[::-1]}
WAYS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
CLIPS = {"train": 32, "val": 4, "test": 24}
TEACHER = "r3d10-8"
KEYS: dict[str, Any] = {"batch_size": 32, "device": "cpu", "augment": "time-crop+shift", "lr": 0.05}


@dataclass(frozen=True)
class Part:
    """One part: its title, the student, the keys of its runs, and the methods with their schemes."""

    title: str
    student: str
    keys: dict[str, Any]
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)


TURNS = {"method": "kd", "scheme": {"name": "generative", "warmup": 4}}
PARTS = (
    Part("A narrow network", "r3d10-2", {}, {"kd": {}, "kd+fitnet": {}, "kd, generative": TURNS}),
    Part("Two of six frames", "r3d10-2", {"teacher_inputs": "frames6", "student_inputs": "frames2"},
         {"kd": {}, "kd+rkd": {}, "pkt": {}}),
    Part("Each frame by itself", "frames:cnn4", {}, {"kd": {}}),
)  # fmt: skip


def frames(number: int, shape: str, way: str) -> np.ndarray:
    """Return a clip (T, H, W) of uint8."""
    rng = np.random.default_rng([number, *(ord(letter) for letter in shape + way)])
    pixels = rng.normal(80, 30, (FRAMES, SIDE, SIDE))
    top, left = rng.integers(0, SIDE, 2)
    down, right = WAYS[way]
    for t in range(FRAMES):
        rows_of, columns = (
            (start + step * t + np.arange(SHAPE)) % SIDE for start, step in ((top, down), (left, right))
        )
        pixels[t][np.ix_(rows_of, columns)] += 100 * SHAPES[shape]
    return pixels.clip(0, 255).astype(np.uint8)


def prepare(root: Path) -> Path:
    """Write the clips; return their folder."""
    for number, (split, count) in enumerate(CLIPS.items()):
        for shape, way, k in product(SHAPES, WAYS, range(count)):
            folder = root / split / f"{shape}-{way}" / f"{k:03d}"
            if not folder.exists():
                folder.mkdir(parents=True)
                for t, frame in enumerate(frames(1000 * number + k, shape, way)):
                    Image.fromarray(frame).save(folder / f"{t:02d}.bmp")
    return root


def train(part: Part, number: int, teacher: Path, keys: dict[str, Any], args: argparse.Namespace) -> dict[Any, Any]:
    """Run everything in one part; return the results by (student, method, seed)."""
    results: dict[Any, Any] = {}
    of_student = {key: value for key, value in part.keys.items() if key != "teacher_inputs"}
    for seed, method in product(range(args.seeds), ("alone", *part.methods)):
        settings = keys | {"epochs": args.epochs, "seed": seed}
        folder = args.out / f"{number}-{slug(method)}-{seed}"
        if method == "alone":
            results[part.student, method, seed] = run(folder, part.student, None, settings | of_student)
        else:
            more = part.keys | {"teacher": str(teacher)} | part.methods[method]
            name = more.pop("method", method)
            results[part.student, method, seed] = run(folder, part.student, name, settings | more)
    return results


def main() -> None:
    """Run all parts, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--teacher-epochs", type=int, default=16)
    parser.add_argument("--parts", type=int, nargs="+", default=[0, 1, 2], help="numbers of the parts to run")
    args, start = parser.parse_args(), time.process_time()
    torch.set_num_threads(1)
    args.out = args.out.resolve()
    keys = KEYS | {"data": f"clips:{prepare(args.out / 'data')}", "reading": {"frames": [6, 2]}}
    of_teacher = keys | {"epochs": args.teacher_epochs, "seed": 0, "student_inputs": "frames6"}
    teacher = {"teacher": run(args.out / "teacher", TEACHER, None, of_teacher)}
    counts = ", ".join(f"{8 * count} {split}" for split, count in CLIPS.items())
    about = (
        f"{counts} clips of 8 classes; mean ± half of the 95 % interval over {args.seeds} seeds of the student, one "
    )
    about += f"teacher ({TEACHER}, {args.teacher_epochs} epochs); {args.epochs} epochs each; last epoch; test split; "
    lines = ["# Clips", "", about + "gains paired by seed.", ""]
    for number in args.parts:
        part = PARTS[number]
        results = teacher | train(part, number, args.out / "teacher", keys, args)
        lines += section(part.title, "", part.student, tuple(part.methods), args.seeds, TEACHER, results)
        (args.out / "clips.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines += [f"    {shlex.join(['python', *sys.argv])}", "",
              f"torch {torch.__version__}; {time.process_time() - start:.0f} s of process time."]  # fmt: skip
    (args.out / "clips.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
