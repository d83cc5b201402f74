"""Compare methods on citation graphs: a GCN teaches a perceptron of a node's own features, and a narrow GCN.

    python bench/graphs.py PLANETOID --out runs/graphs [--graphs cora citeseer] [--seeds 3]

PLANETOID has cora.npz and citeseer.npz with the usual 140 or 120 training nodes. Features are divided by their sum over
each node. Students are taught on all nodes, of which labels are known of the training nodes alone, unless the row says
otherwise. Writes graphs.md below --out; runs are kept there, as in bench/real.py. Gains are over the student alone,
paired by seed.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real import percent, run

import tutelage
from tutelage.utils.intervals import confidence_interval, verdict

KD = "{name: kd, temperature: 1.0, weight: 1.0, task_loss_weight: 0.0}"
METHODS = {
    "kd, labelled nodes": "kd",
    "kd (GLNN)": f"[{{name: ce}}, {KD}]",
    "kd + lsp": f"[{{name: ce}}, {KD}, {{name: lsp, kernel: linear}}]",
    "kd + rkd, distances": f"[{{name: ce}}, {KD}, {{name: rkd_distance}}]",
    "kd + sp": f"[{{name: ce}}, {KD}, {{name: sp, student: [layer1], teacher: [body.conv2]}}]",
}
TEACHER = "gcn-2-64"
STUDENTS = {"node-mlp-64": list(METHODS), "gcn-2-8": ["kd (GLNN)"]}
STEPS = 6
"""The steps of an epoch of all nodes of Cora; one of the labelled nodes is one step."""
TRAINING = {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.05, "batch_size": 500, "device": "cpu"}
HEAD = "| model | taught by | accuracy, % | macro F1, % | gain over alone, points | verdict | ms a step |"


def normalise(source: Path, target: Path) -> str:
    """Write the graph with each node's features divided by their sum; return its path."""
    with np.load(source) as file:
        arrays = {name: file[name] for name in file.files}
    counts = np.diff(arrays["x_indptr"])
    sums = np.add.reduceat(np.append(arrays["x_data"], 0), arrays["x_indptr"][:-1])
    arrays["x_data"] = arrays["x_data"] / np.repeat(sums, counts).astype(np.float32)
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(target, **arrays)
    return str(target)


def figure(folder: Path, name: str) -> list[float]:
    """Return a figure of the test nodes for each seed."""
    phases = sorted(folder.glob("student-*/phase.json"))
    return [json.loads(path.read_text(encoding="utf-8"))["figures"][name] for path in phases]


def row(names: tuple[str, str], folder: Path, result: dict[str, Any], alone: list[float] | None) -> str:
    """Return a line of the table."""
    values, f1 = result["values"], figure(folder, "macro_f1")
    cells = [*names, *(percent(sum(x) / len(x), confidence_interval(x)) for x in (values, f1))]
    gain = ["", ""]
    if alone is not None:
        gains = [value - baseline for value, baseline in zip(values, alone, strict=True)]
        gain = [percent(sum(gains) / len(gains), confidence_interval(gains), "+"), verdict(gains)]
    milliseconds = result.get("step_ms") or 0.0
    return f"| {' | '.join([*cells, *gain, f'{milliseconds:.0f}'])} |"


def study(graph: str, args: argparse.Namespace) -> list[str]:
    """Run the methods on a graph; return the lines of its table."""
    out = Path(args.out).resolve() / graph
    path = normalise(Path(args.planetoid) / f"{graph}.npz", out / f"{graph}.npz")
    labelled = {"data": f"graph:{path}", "seeds": args.seeds, "epochs": args.epochs, **TRAINING}
    everywhere = {"unlabelled": {"source": f"graph-nodes:{path}", "share": 0.9}}
    teacher = run(out / "teacher", TEACHER, None, labelled | {"seeds": 1, "epochs": STEPS * args.epochs})["student"]
    lines = [f"## {graph.capitalize()}", "", HEAD, "|---|---|---:|---:|---:|---|---:|"]
    lines.append(row((f"{TEACHER} (teacher)", ""), out / "teacher", teacher, None))
    for student in args.students:
        folder = out / f"{student}-alone"
        alone = run(folder, student, None, labelled | {"epochs": STEPS * args.epochs})["student"]
        lines.append(row((student, "alone"), folder, alone, None))
        for name in [method for method in STUDENTS[student] if method in args.methods]:
            folder = out / f"{student}-{re.sub(r'[^a-z]+', '-', name)}"
            keys = labelled | {"teacher": str(out / "teacher")}
            keys |= {"epochs": STEPS * args.epochs} if name.endswith("labelled nodes") else {"streams": everywhere}
            result = run(folder, student, METHODS[name], keys)
            if "failed" in result:
                lines.append(f"| {student} | {name} | failed: {result['failed']} |||||")
                continue
            lines.append(row((student, name), folder, result["student"], alone["values"]))
            print(lines[-1], flush=True)
    return [*lines, ""]


def main() -> None:
    """Run the studies, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("planetoid")
    parser.add_argument("--graphs", nargs="+", default=["cora", "citeseer"])
    parser.add_argument("--students", nargs="+", default=list(STUDENTS), choices=STUDENTS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--out", required=True)
    args, start = parser.parse_args(), time.time()
    tables = [line for graph in args.graphs for line in study(graph, args)]
    text = "\n".join(
        [
            "# Citation graphs: a graph network teaches a perceptron",
            "",
            f"Mean ± half of the 95 % interval over {args.seeds} seeds of the student, one teacher; test nodes; "
            f"{args.epochs} epochs of all nodes, or {STEPS * args.epochs} of the labelled nodes (one step each).",
            "",
            *tables,
            f"    {shlex.join(['python', *sys.argv])}",
            "",
            f"torch {torch.__version__}, tutelage {tutelage.__version__}; {time.time() - start:.0f} s.",
        ]
    )
    (Path(args.out) / "graphs.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
