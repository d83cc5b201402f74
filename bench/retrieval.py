"""Run a study of embeddings: search for classes that no network has seen in training; write a Markdown table.

    python bench/retrieval.py --data folder:eurosat --out runs/retrieval size=32 batch_size=64

For each seed a teacher and a student are trained alone, and the student once with each method. The classes of test are
the same for each seed, those of train and val aren't. Every run has its own folder below --out; finished runs are kept.
Arguments `key=value` are passed to every run. A method is a loss, a sum of losses, or a mapping ("{name: rkd, …}").
Metrics are those of the last epoch on the test split. The last column is the recall of the student's queries in the
teacher's gallery.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
import yaml

import tutelage
from tutelage.config.schema import parse_pairs
from tutelage.tasks.embedding_checks import chance_recall, input_recall
from tutelage.tasks.retrieval_metrics import search
from tutelage.utils.intervals import confidence_interval, verdict

METHODS = [
    "rkd",
    "{name: rkd, task_loss_weight: 0}",
    "pkt",
    "crd",
    "logit_mse",
    "{name: logit_mse, task_loss_weight: 0}",
]
METRICS = {
    "recall_at_1": "recall at 1",
    "map_at_r": "mAP@R",
    "roc_auc": "ROC AUC",
    "tar_at_far_1e-2": "TAR at FAR 1 %",
    "asymmetric": "recall at 1 in the teacher's gallery",
}


def run(folder: Path, model: str, method: str | None, keys: dict[str, Any]) -> dict[str, float]:
    """Return the metrics of one run, which is trained unless it is finished; method None: no teacher."""
    if not (folder / "result.json").exists():
        if method is None:
            tutelage.train(model, out=str(folder), **keys)
        else:
            terms = yaml.safe_load(method) if method.startswith("{") else method
            tutelage.distill(student=model, method=terms, baseline=False, out=str(folder), **keys)
    phase = json.loads((folder / "student-0" / "phase.json").read_text(encoding="utf-8"))
    print(f"{folder.name}: {phase['figures']['recall_at_1']:.4f}", flush=True)
    return dict(phase["figures"])


def asymmetric_recall(folder: Path, teacher: Path) -> float:
    """Return the recall at 1 of a student's queries among its teacher's vectors."""
    x, gallery = (np.load(path / "student-0" / "predictions.npz") for path in (folder, teacher))
    vectors = (torch.from_numpy(arrays["embeddings"]) for arrays in (x, gallery))
    return float(search(*vectors, torch.from_numpy(x["targets"]))["recall_at_1"])


def study(args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Run everything; return the metrics of each method, one of each seed."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in ("teacher", "alone", *args.methods)}
    for seed in range(args.seeds):
        keys = {"data": args.data, "split": "classes", "task": {"name": "embedding", "dim": args.dim}}
        keys |= {"seed": seed, **args.keys}
        out = Path(args.out)
        teacher = out / f"teacher-{seed}"
        results["teacher"].append(run(teacher, args.teacher, None, keys | {"epochs": args.teacher_epochs}))
        for number, method in enumerate(["alone", *args.methods]):
            folder, name = out / f"method{number}-{seed}", None if method == "alone" else method
            taught = {} if name is None else {"teacher": str(teacher)}
            metrics = run(folder, args.student, name, keys | {"epochs": args.epochs} | taught)
            asymmetric = {} if name is None else {"asymmetric": asymmetric_recall(folder, teacher)}
            results[method].append(metrics | asymmetric)
    return results


def table(results: dict[str, list[dict[str, float]]], args: argparse.Namespace) -> str:
    """Return the results as Markdown."""
    head = ["model", "method", *METRICS.values(), "gain over alone, points", "verdict"]
    lines = [head, ["---", "---", *["---:"] * (len(METRICS) + 1), "---"]]
    alone = [values["recall_at_1"] for values in results["alone"]]
    for method, seeds in results.items():
        gains = [values["recall_at_1"] - base for values, base in zip(seeds, alone, strict=True)]
        compared = method not in ("teacher", "alone")
        lines.append(
            [
                args.teacher if method == "teacher" else args.student,
                method,
                *(percent([values[name] for values in seeds if name in values]) for name in METRICS),
                percent(gains, sign="+") if compared else "",
                verdict(gains) if compared else "",
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(values: list[float], sign: str = "") -> str:
    """Return the mean in percent ± half the 95 % interval; empty without values."""
    if not values:
        return ""
    interval = confidence_interval(values)
    half = f" ± {50 * (interval[1] - interval[0]):.2f}" if interval else ""
    return f"{100 * fmean(values):{sign}.2f}{half}"


def references(args: argparse.Namespace) -> str:
    """Return a sentence about the data, and the recall of random vectors and of the images themselves."""
    data = tutelage.data.load(args.data, split="classes", size=args.keys.get("size"))
    labels = data.test.labels
    assert labels is not None
    values = chance_recall(labels), input_recall(replace(data, val=data.test))
    chance, images = (f"{100 * value:.1f} %" for value in values)
    return (
        f"{len(data.train)} images to train on, {len(data.test)} of {len(labels.unique())} other classes to test. "
        f"Recall at 1 of random vectors: {chance}; of images of 16 × 16 pixels as vectors: {images}."
    )


def main() -> None:
    """Parse the arguments, run the study and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True, help="the folder of the runs")
    parser.add_argument("--results", default=str(Path(__file__).parent / "results" / "retrieval.md"))
    parser.add_argument("--teacher", default="resnet20")
    parser.add_argument("--student", default="cnn16")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--teacher-epochs", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("keys", nargs="*", help="key=value of every run")
    args = parser.parse_args()
    args.keys = parse_pairs(args.keys)
    results = study(args)
    text = f"""# Search for new classes in {args.data}

{references(args)}
Means in percent ± half the 95 % interval over {args.seeds} seeds; last epoch; test split; {args.dim} numbers a vector.
The teacher has {args.teacher_epochs} epochs, each student {args.epochs}. Gains of recall at 1 are paired by seed.

{table(results, args)}

    python bench/retrieval.py {shlex.join(sys.argv[1:])}
"""
    Path(args.results).write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
