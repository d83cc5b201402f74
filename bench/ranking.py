"""Compare methods of ranking distillation: one teacher, a student alone, and that student taught by each method.

    python bench/ranking.py --data letor:PATH --out runs/ranking epochs=5 batch_size=64
    python bench/clicks.py clicks.csv
    python bench/ranking.py --data interactions:clicks.csv --teacher gru32-300 --student gru4-300 --out runs/clicks

Writes ranking.md below --out; runs are kept there, as in bench/real.py. Gains are over the student alone, paired by
seed.
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

import torch
import yaml
from real import percent, run

import tutelage
from tutelage.utils.intervals import confidence_interval, verdict

METHODS = (
    "listnet",
    "margin_mse",
    "ranking_distillation",
    "[{name: rrd, top: 5}]",
    "[{name: rrd, top: 5}, {name: de}]",
    "de",
    "ranknet",
    "listmle",
    "logit_mse",
)


def figures(folder: Path, name: str) -> list[float]:
    """Return a figure of the test documents for each seed, from a run's folder."""
    phases = sorted(folder.glob("student-*/phase.json"))
    return [json.loads(path.read_text(encoding="utf-8"))["figures"][name] for path in phases]


def row(name: str, values: list[float], alone: list[float] | None, recalls: list[float]) -> str:
    """Return a line of the table."""
    cells = [name, *(percent(sum(x) / len(x), confidence_interval(x)) if x else "" for x in (values, recalls))]
    if alone is None:
        return f"| {' | '.join(cells)} | | |"
    gains = [value - baseline for value, baseline in zip(values, alone, strict=True)]
    cells += [percent(sum(gains) / len(gains), confidence_interval(gains), "+"), verdict(gains)]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run the methods, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="letor:PATH or interactions:FILE")
    parser.add_argument("--teacher", default="mlp-256-128")
    parser.add_argument("--student", default="mlp-8")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", required=True)
    parser.add_argument("keys", nargs="*")
    args, start = parser.parse_args(), time.time()
    out = Path(args.out).resolve()
    keys: dict[str, Any] = {k: yaml.safe_load(v) for k, _, v in (pair.partition("=") for pair in args.keys)}
    keys |= {"data": args.data, "seeds": args.seeds}
    teacher = run(out / "teacher", args.teacher, None, keys | {"seeds": 1})["student"]
    alone = run(out / "alone", args.student, None, keys)["student"]
    taught = keys | {"teacher": str(out / "teacher")}
    folders = {method: out / re.sub(r"\W+", "-", method) for method in args.methods}
    results = {name: run(folder, args.student, name, taught)["student"]["values"] for name, folder in folders.items()}
    recalls = {name: figures(folder, "recall@10") for name, folder in folders.items()}
    text = "\n".join(
        [
            f"# Ranking distillation: {args.data.partition(':')[0]}:{Path(args.data.partition(':')[2]).name}",
            "",
            f"{args.teacher} ({teacher['parameters']:,} parameters) teaches {args.student} ({alone['parameters']:,}); "
            f"mean ± half of the 95 % interval over {args.seeds} seeds of the student, one teacher; test split.",
            "",
            "| model | NDCG@10, % | recall@10, % | gain of NDCG@10 over alone, points | verdict |",
            "|---|---:|---:|---:|---|",
            row("random order", figures(out / "teacher", "random_ndcg@10"), None, []),
            row("teacher", teacher["values"], None, figures(out / "teacher", "recall@10")),
            row("student alone", alone["values"], None, figures(out / "alone", "recall@10")),
            *(row(f"`{name}`", values, alone["values"], recalls[name]) for name, values in results.items()),
            "",
            f"    {shlex.join(['python', *sys.argv])}",
            "",
            f"torch {torch.__version__}, tutelage {tutelage.__version__}; {time.time() - start:.0f} s.",
        ]
    )
    (out / "ranking.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
