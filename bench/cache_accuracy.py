"""Measure what storing a teacher's outputs costs in accuracy: a student with a live teacher, and with each storage.

    python bench/cache_accuracy.py --data fashion-mnist:PATH --out runs/cache limit=4000 size=16

"ever new": a live teacher with new augmentations in each epoch. "live": a live teacher with the number of views of the
caches. Gains are over "live", paired by seed. Runs are stored below --out, as in bench/real.py.
"""

from __future__ import annotations

import argparse
import json
import os
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

STORAGES = ("exact", "fp16", "int8", "top5", "top3", "top2", "top1")


def variants(storages: list[str], views: int) -> dict[str, dict[str, Any]]:
    """Return the keys of each variant."""
    cached = {f"cached {s}": {"views": views, "cache": True, "cache_storage": s} for s in storages}
    return {"alone": {}, "ever new": {}, "live": {"views": views}, **cached}


def kl_of(folder: Path, storage: str) -> str:
    """Return the measured KL divergence from the manifest of a cache with this storage."""
    for path in folder.glob("caches/*/manifest.json"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["about"]["storage"] == storage:
            return f"{manifest['error']['response']['kl']:.2g}"
    return ""


def main() -> None:
    """Run the variants, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--teacher", default="resnet20")
    parser.add_argument("--student", default="resnet8")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--teacher-epochs", type=int, default=15)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--storages", nargs="+", default=list(STORAGES))
    parser.add_argument("--out", required=True)
    parser.add_argument("keys", nargs="*")
    args, start = parser.parse_args(), time.time()
    torch.set_num_threads(1)
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    data = args.data.partition(":")
    keys: dict[str, Any] = {k: yaml.safe_load(v) for k, _, v in (pair.partition("=") for pair in args.keys)}
    keys["data"] = f"{data[0]}:{Path(data[2]).resolve()}" if data[2] else data[0]
    teacher = run(out / "teacher", args.teacher, None, keys | {"epochs": args.teacher_epochs})
    metric, results = teacher["metric"], {}
    os.chdir(out)  # caches are beside the runs
    for name, overrides in variants(args.storages, args.views).items():
        rows = []
        for seed in range(args.seeds):
            folder = out / f"{name.replace(' ', '-')}-{seed}"
            budget = keys | overrides | {"epochs": args.epochs, "seed": seed}
            if name == "alone":
                rows.append(run(folder, args.student, None, budget)["student"])
            else:
                taught = budget | {"teacher": str(out / "teacher")}
                rows.append(run(folder, args.student, "kd", taught)["student"])
        results[name] = rows
    live = [row[metric] for row in results["live"]]
    lines = [
        f"| variant | {metric}, % | gain over live, points | verdict | KL of the storage | ms per step |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for name, rows in results.items():
        values = [row[metric] for row in rows]
        gains = [value - baseline for value, baseline in zip(values, live, strict=True)]
        mean, gain = sum(values) / len(values), sum(gains) / len(gains)
        step = sum(row["step_ms"] for row in rows) / len(rows)
        gain_text = "" if name == "live" else percent(gain, confidence_interval(gains), "+")
        verdict_text = "" if name == "live" else verdict(gains)
        kl = kl_of(out, name.removeprefix("cached ")) if name.startswith("cached") else ""
        lines.append(
            f"| {name} | {percent(mean, confidence_interval(values))} | {gain_text} | {verdict_text} | {kl} | "
            f"{step:.0f} |"
        )
    text = "\n".join(
        [
            f"# Accuracy with a cached teacher: {data[0]}",
            "",
            f"{args.teacher} ({100 * teacher['student'][metric]:.2f} %) distilled into {args.student} by KD, "
            f"{args.epochs} epochs, {args.views} views; mean ± half of the 95 % interval over {args.seeds} seeds; last "
            "epoch; test split.",
            "",
            *lines,
            "",
            f"    {shlex.join(['python', *sys.argv])}",
            "",
            f"torch {torch.__version__}, tutelage {tutelage.__version__}; {time.time() - start:.0f} s.",
        ]
    )
    (out / "study.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
