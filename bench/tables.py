"""Teach decision trees and small networks by boosted trees on two tables; write a table of means over seeds.

    python bench/tables.py --housing california_housing.csv --out runs/tables

California housing (a CSV file with the column median_house_value, texts and missing cells) and scikit-learn's breast
cancer. A seed chooses the validation split, and so the training samples, and a network's first weights; the test split
is the same for all.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from sklearn.datasets import load_breast_cancer

import tutelage

TREE = "tree:depth=4"


@dataclass(frozen=True)
class Study:
    """A table, its target, its teacher, the methods for networks and the format of its metric."""

    name: str
    file: Path
    target: str
    metric: str
    teacher: str
    methods: tuple[str, ...]
    scale: float
    unit: str


@dataclass(frozen=True)
class Way:
    """A student and how it is taught; method: None without a teacher."""

    label: str
    student: str
    method: str | None


def ways(study: Study) -> list[Way]:
    """Return the ways to teach a tree and a network, each student alone first."""
    shares = [
        Way(f"tree, half the teacher (alpha={alpha})" if alpha == 0.5 else "tree, the teacher alone (alpha=1)",
            f"{TREE},alpha={alpha}", "kd") for alpha in (0.5, 1)
    ]  # fmt: skip
    pseudo = Way("tree, the teacher and 20,000 pseudo-samples", f"{TREE},alpha=1,pseudo=20000", "kd")
    network = [Way(f"network, {method}", "mlp-32-32", method) for method in study.methods]
    return [Way("tree alone", TREE, None), *shares, pseudo, Way("network alone", "mlp-32-32", None), *network]


def write_cancer(path: Path) -> Path:
    """Write scikit-learn's breast cancer as a CSV file."""
    data = load_breast_cancer()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*data.feature_names, "diagnosis"])
        writer.writerows([*x, data.target_names[y]] for x, y in zip(data.data, data.target, strict=True))
    return path


def run(study: Study, way: Way, seed: int, teacher: Path | None, keys: dict[str, Any], out: Path) -> Path:
    """Train one student, or go on where it stopped; return its run folder."""
    if (out / "report.html").exists():
        return out
    if (out / "config.yaml").exists():
        tutelage.resume(out)
        return out
    keys = keys | {"target": study.target, "seed": seed, "out": str(out), "progress": False}
    if way.method is None:
        tutelage.train(way.student, f"csv:{study.file}", **keys)
    else:
        tutelage.distill(way.student, str(teacher), f"csv:{study.file}", way.method, baseline=False, **keys)
    return out


def row(study: Study, label: str, folders: list[Path]) -> str:
    """Return a row of the table: the metric, the fidelity and the stability of the root, means over seeds."""
    phases = [json.loads((folder / "student-0" / "phase.json").read_text()) for folder in folders]
    values = [phase["figures"][study.metric] * study.scale for phase in phases]
    facts = [phase.get("fit", {}) for phase in phases]
    agreement = [fact["fidelity"].get("agreement", fact["fidelity"].get("r2")) for fact in facts if "fidelity" in fact]
    roots = [fact["stability"]["splits"][0]["share"] for fact in facts if "stability" in fact]
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    cells = [f"{100 * fmean(x):.1f} %" if x else "–" for x in (agreement, roots)]
    return f"| {label} | {fmean(values):.2f}{spread} {study.unit} | {' | '.join(cells)} |"


def main() -> None:
    """Train everything, and write tables.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--housing", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/tables"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    boosting = "boosting:trees=300,depth=6"
    cancer = write_cancer(args.out / "breast_cancer.csv")
    studies = [
        Study("California housing, test RMSE", args.housing, "median_house_value", "rmse", boosting,
              ("logit_mse", "output_l1", "mse+logit_mse"), 1e-3, "k$"),
        Study("Breast cancer, test accuracy", cancer, "diagnosis", "accuracy", "boosting:trees=100,depth=3",
              ("kd", "dist", "logit_mse"), 100, "%"),
    ]  # fmt: skip
    lines = ["# Tables", "", f"Means and standard deviations over {args.seeds} seeds; written by `bench/tables.py`."]
    for study in studies:
        keys = {"epochs": args.epochs, "batch_size": 256 if study.metric == "rmse" else 32, "device": "cpu"}
        folder = args.out / study.target
        seeds = range(args.seeds)
        alone = Way("teacher", study.teacher, None)
        teachers = [run(study, alone, seed, None, keys, folder / f"teacher-{seed}") for seed in seeds]
        head = ["", f"## {study.name}", "", "| | metric | fidelity | same root |", "|---|---|---|---|"]
        lines += [*head, row(study, f"teacher, {study.teacher}", teachers)]
        for k, way in enumerate(ways(study)):
            folders = [run(study, way, seed, teachers[seed], keys, folder / f"{k}-{seed}") for seed in seeds]
            lines.append(row(study, way.label, folders))
            print(lines[-1], flush=True)
    (args.out / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
