"""CamVid: a segmentation network teaches a small one in several ways; write a table of means over seeds.

    python bench/segmentation.py CAMVID --out runs/segmentation [--seeds 3]

CAMVID has train/, trainannot/, val/, valannot/, test/, testannot/ and classes.json. All networks start from random
weights. Writes bench/results/segmentation.md; finished runs are read, not repeated. Milliseconds are the least process
time of forward and backward of a batch, in one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

import tutelage
from tutelage.config.schema import check
from tutelage.runs.run import Run
from tutelage.utils.intervals import confidence_interval

KEYS: dict[str, Any] = {
    "student": "seg4", "size": "60x80", "augment": "crop-flip", "limit": 120, "batch_size": 8, "epochs": 8,
    "lr": 0.05, "task": {"name": "segmentation", "boundary": 2}, "device": "cpu", "log_every": 50, "keep": "last",
}  # fmt: skip
TEACHER = {"student": "seg16", "epochs": 30, "batch_size": 16, "limit": None}
MEMORY = {"name": "cirkd_memory", "num_classes": 11}
WAYS: dict[str, Any] = {
    "kd": "kd",
    "cwd": "cwd",
    "CIRKD": [{"name": "kd"}, {"name": "cirkd_minibatch"}, MEMORY],
}
FIGURES = ("miou", "mean_accuracy", "dice", "boundary_f1", "boundary_iou")


def phases(folder: Path, role: str) -> list[Path]:
    """Return the folders of a role's trainings, one per seed."""
    found = sorted(folder.glob("*/phase.json"))
    return [path.parent for path in found if json.loads(path.read_text("utf-8"))["role"] == role]


def step_ms(keys: dict[str, Any]) -> float:
    """Return the milliseconds of forward and backward of a batch."""
    run = Run(check(keys), folder=Path())
    wired = run.dry_run(run.config.batch_size)
    assert wired is not None
    wired.scheme.train()
    least = float("inf")
    for step in range(6):
        start = time.process_time()
        for _, losses in wired.scheme.turns(wired.batch, step):
            torch.stack(list(losses.values())).sum().backward()
        least = min(least, time.process_time() - start)
    return 1000 * least


def train(data: str, out: Path, seeds: int) -> dict[str, tuple[list[Path], float]]:
    """Train what isn't trained yet; return each model's trainings and its milliseconds."""
    keys = KEYS | {"data": data}
    teacher, alone = out / "teacher", keys | {"method": "ce", "baseline": False}
    if not (teacher / "result.json").exists():
        own = {key: value for key, value in (keys | TEACHER).items() if key != "student"}
        tutelage.train(TEACHER["student"], **own, out=str(teacher))
    of_teacher = phases(teacher, "student") or phases(teacher, "baseline")
    results = {"teacher": (of_teacher, step_ms(alone | {"student": TEACHER["student"]}))}
    for number, (way, method) in enumerate(WAYS.items()):
        folder, more = out / f"way{number}", {"teacher": str(teacher), "method": method}
        if not (folder / "result.json").exists():
            tutelage.distill(**(keys | more), baseline=number == 0, seeds=seeds, out=str(folder))
        if number == 0:
            results["alone"] = phases(folder, "baseline"), step_ms(alone)
        results[way] = phases(folder, "student"), step_ms(keys | more)
    return results


def with_interval(values: list[float], sign: str = "") -> str:
    """Format the mean and half of its 95 % interval."""
    bounds = confidence_interval(values)
    return f"{fmean(values):{sign}.2f}" + (f" ± {(bounds[1] - bounds[0]) / 2:.2f}" if bounds else "")


def table(results: dict[str, tuple[list[Path], float]]) -> list[str]:
    """Return the lines of the table: percent, and the gain of miou over the student alone, seed by seed."""
    figures = {
        model: [json.loads((folder / "phase.json").read_text("utf-8"))["figures"] for folder in folders]
        for model, (folders, _) in results.items()
    }
    lines = [f"| model | {' | '.join(FIGURES)} | gain of miou | verdict | ms a step |", "|---|" + 8 * "---:|"]
    for model, seeds in figures.items():
        cells = [with_interval([100 * values[name] for values in seeds]) for name in FIGURES]
        gains = [100 * (a["miou"] - b["miou"]) for a, b in zip(seeds, figures["alone"], strict=False)]
        bounds = confidence_interval(gains)
        verdict, gain = "", ""
        if model in WAYS and bounds:
            verdict = "beats" if bounds[0] > 0 else "worse" if bounds[1] < 0 else "undecided"
            gain = with_interval(gains, "+")
        lines.append(f"| {model} | {' | '.join(cells)} | {gain} | {verdict} | {results[model][1]:.0f} |")
    return lines


def table_of_classes(results: dict[str, tuple[list[Path], float]], classes: list[str]) -> list[str]:
    """Return the lines of the table of each class's IoU in percent, means over seeds."""
    means = {
        model: np.mean([np.load(folder / "tables.npz")["overlap"] for folder in folders], axis=0)
        for model, (folders, _) in results.items()
    }
    share = means["teacher"][:, 0] / means["teacher"][:, 0].sum()
    lines = [f"| class | pixels | {' | '.join(means)} |", "|---|---:|" + len(means) * "---:|"]
    for number, name in enumerate(classes):
        cells = [f"{100 * x[number, 1]:.1f}" for x in means.values()]
        lines.append(f"| {name} | {100 * share[number]:.1f} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Train everything and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/segmentation"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "segmentation.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    results = train(f"segmentation:{args.camvid.resolve()}", args.out, args.seeds)
    names = [name for name in json.loads((args.camvid / "classes.json").read_text("utf-8")) if name != "unlabelled"]
    described = ", ".join(f"{key}={value}" for key, value in KEYS.items())
    seconds = time.process_time() - start
    teacher = f"{TEACHER['student']}, trained on all 367 images for {TEACHER['epochs']} epochs"
    lines = [
        "# Segmentation: CamVid",
        "",
        f"{teacher}, teaches {KEYS['student']}: {described}; {args.seeds} seeds of the student, one teacher.",
        "Test split, percent, means ± half the 95 % interval over seeds; it doesn't cover the choice of the teacher.",
        "",
        *table(results),
        "",
        "IoU by class:",
        "",
        *table_of_classes(results, names),
        "",
        f"    python bench/segmentation.py CAMVID --out runs/segmentation --seeds {args.seeds}",
        "",
        f"torch {torch.__version__}, tutelage {tutelage.__version__}; {seconds:.0f} s of the processor.",
    ]
    args.results.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
