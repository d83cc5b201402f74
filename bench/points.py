"""Run a study of point clouds: teachers of neighbourhoods, of grids and of whole objects, and a small PointNet.

    python bench/points.py --modelnet FILE --out runs/points

FILE is a .npz of ModelNet10's grids (x_train, y_train, x_test, y_test, classes); the first 60 clouds of each class
train and the first 50 test, without empty ones and copies. A teacher of grids teaches a PointNet of points, and one
that sees one side of each cloud, also with 10 labelled clouds of each class, by pseudo-labels of the others; a teacher
of points and their neighbours teaches a PointNet of points. Every run has its own folder below --out; finished runs are
reused, unfinished ones resumed. Metrics are those of the last epoch on the test split, in points.md below --out.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real import run, section, slug

TRAIN, TEST, FEW = 60, 50, 10
"""Clouds of each class: for training and testing, and those with labels if these are few."""

POINTS: dict[str, Any] = {"points": 128, "leave_out": ["empty", "copies"]}
KEYS: dict[str, Any] = {
    "batch_size": 32, "device": "cpu", "augment": "subsample+jitter", "views": 4, "keep": "last", "lr": 0.05,
}  # fmt: skip


@dataclass(frozen=True)
class Study:
    """One part: its data, networks with the inputs of each, the methods to compare, and keys.

    methods: each row's method and further keys. alone: further keys of the student alone. teacher_of: the number of the
    part that trains the teacher.
    """

    title: str
    data: Path
    teacher: tuple[str, str]
    student: tuple[str, str]
    methods: Mapping[str, tuple[str, Mapping[str, Any]]]
    keys: Mapping[str, Any]
    teacher_epochs: int = 15
    epochs: int = 10
    alone: Mapping[str, Any] = field(default_factory=dict)
    teacher_of: str = "0"


def prepare(source: Path, out: Path) -> dict[str, Path]:
    """Write the first clouds of each class, unless it is done: all with labels, few with labels, and the others."""
    files = {name: out / f"{name}.npz" for name in ("all", "few", "more")}
    if all(file.exists() for file in files.values()):
        return files
    with np.load(source, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}

    def first(split: str, start: int, end: int) -> Any:
        y = arrays[f"y_{split}"]
        return np.sort(np.concatenate([np.flatnonzero(y == c)[start:end] for c in range(len(arrays["classes"]))]))

    out.mkdir(parents=True, exist_ok=True)
    test = first("test", 0, TEST)
    tested = {"x_test": arrays["x_test"][test], "y_test": arrays["y_test"][test], "classes": arrays["classes"]}
    parts = {"all": (0, TRAIN), "few": (0, FEW), "more": (FEW, TRAIN)}
    for name, (start, end) in parts.items():
        numbers = first("train", start, end)
        labelled = tested | {"y_train": arrays["y_train"][numbers]} if name != "more" else {}
        np.savez_compressed(files[name], x_train=arrays["x_train"][numbers], **labelled)
    return files


def studies(files: dict[str, Path]) -> list[Study]:
    """Return the parts."""
    plain: dict[str, tuple[str, Mapping[str, Any]]] = {name: (name, {}) for name in ("kd", "dkd", "rkd", "pkt")}
    x_ray = {name: plain[name] for name in ("kd", "dkd", "rkd")}
    streams = {"labelled": {"source": f"points:{files['few']}", "share": 0.25}, "unlabelled": f"clouds:{files['more']}"}
    both = {"data": streams, "batch_size": 64}
    pseudo = "[{name: pseudo_label, stream: unlabelled}]"
    few = {"batch_size": 16, "epochs": 25}  # as many steps
    semi: dict[str, tuple[str, Mapping[str, Any]]] = {
        "kd, labelled clouds": ("kd", few),
        "kd, all clouds": ("kd", both),
        "pseudo_label, other clouds": (pseudo, both),
    }
    keys = {"reading": POINTS | {"grid": 20, "visible": 16}}
    return [
        Study("From grids to points", files["all"], ("voxnet-8", "grid"), ("pointnet-4", "points"), plain, keys),
        Study("From whole objects to their visible parts", files["all"], ("voxnet-8", "grid"),
              ("pointnet-4", "visible"), x_ray, keys),
        Study("The same with 10 labelled clouds of each class", files["few"], ("voxnet-8", "grid"),
              ("pointnet-4", "visible"), semi, keys, 50, 10, few, "2"),
        Study("From neighbourhoods to single points", files["all"], ("dgcnn-8", "points"), ("pointnet-4", "points"),
              plain, {"reading": POINTS}, teacher_of="3"),
    ]  # fmt: skip


def train(study: Study, out: Path, seeds: int) -> dict[Any, dict[str, Any]]:
    """Run everything in one part; return the results by (student, method, seed), and the teacher's."""
    keys = KEYS | {"data": f"points:{study.data}"} | study.keys
    several = len({"grid", "visible"} & {*keys["reading"]}) > 0
    seen = {role: {f"{role}_inputs": getattr(study, role)[1]} if several else {} for role in ("teacher", "student")}
    teachers = {"student_inputs": study.teacher[1]} if several else {}
    folder = out.parent / study.teacher_of / "teacher"
    results: dict[Any, dict[str, Any]] = {
        "teacher": run(folder, study.teacher[0], None, keys | teachers | {"epochs": study.teacher_epochs, "seed": 0})
    }
    for seed, name in product(range(seeds), ("alone", *study.methods)):
        settings = keys | seen["student"] | {"epochs": study.epochs, "seed": seed}
        method, more = study.methods.get(name, (None, study.alone))
        settings |= {**more} if method is None else {"teacher": str(folder), "cache": True} | seen["teacher"] | {**more}
        results[study.student[0], name, seed] = run(out / f"{slug(name)}-{seed}", study.student[0], method, settings)
    return results


def main() -> None:
    """Run the parts, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modelnet", type=Path, required=True, help=".npz of ModelNet10's grids")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", type=int, nargs="+", default=[0, 1, 2, 3], help="numbers of the parts to run")
    args, start = parser.parse_args(), time.process_time()
    torch.set_num_threads(1)
    out = args.out.resolve()
    lines = [
        "# Point clouds",
        "",
        f"ModelNet10's grids as {POINTS['points']} points. Mean ± half of the 95 % interval over {args.seeds} seeds of "
        "the student, one teacher; last epoch; test split; gains paired by seed.",
        "",
    ]
    parts = studies(prepare(args.modelnet, out / "data"))
    for number, study in ((number, parts[number]) for number in args.parts):
        results = train(study, out / str(number), args.seeds)
        data = results["teacher"]["data"]
        about = (
            f"{data['train']} training and {data['test']} test clouds, {len(data['classes'])} classes; the teacher "
            f"gets `{study.teacher[1]}` in {study.teacher_epochs} epochs, the student `{study.student[1]}` in "
            f"{study.epochs}."
        )
        methods = [*study.methods]
        lines += section(study.title, about, study.student[0], methods, args.seeds, study.teacher[0], results)
        (out / "points.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines += [
        f"    {shlex.join(['python', *sys.argv])}",
        "",
        f"torch {torch.__version__}; {time.process_time() - start:.0f} s of process time.",
    ]
    (out / "points.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
