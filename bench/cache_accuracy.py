"""What storing a teacher's answers costs in accuracy: a student taught live, and from caches of each storage.

    python bench/cache_accuracy.py --data fashion-mnist:PATH --out runs/cache limit=4000 size=16

"ever new": live, augmented anew in each epoch. "live": live with as many views as the caches have. Gains are over
"live", paired by seed. Runs are kept below --out, as bench/real.py keeps them.
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
from tutelage.utils.intervals import interval, verdict

STORAGES = ("exact", "fp16", "int8", "top5", "top3", "top2", "top1")


def variants(storages: list[str], views: int) -> dict[str, dict[str, Any]]:
    """Each variant's keys."""
    cached = {f"cached {s}": {"views": views, "cache": True, "cache_storage": s} for s in storages}
    return {"alone": {}, "ever new": {}, "live": {"views": views}, **cached}


def kl_of(folder: Path, storage: str) -> str:
    """The measured divergence in the manifest of a cache with this storage."""
    for path in folder.glob("caches/*/manifest.json"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["about"]["storage"] == storage:
            return f"{manifest['error']['response']['kl']:.2g}"
    return ""


def main() -> None:
    """Run them, and write the table."""
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
    asked, began = parser.parse_args(), time.time()
    torch.set_num_threads(1)
    out = Path(asked.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    data = asked.data.partition(":")
    keys: dict[str, Any] = {k: yaml.safe_load(v) for k, _, v in (word.partition("=") for word in asked.keys)}
    keys["data"] = f"{data[0]}:{Path(data[2]).resolve()}" if data[2] else data[0]
    teacher = run(out / "teacher", asked.teacher, None, None, keys | {"epochs": asked.teacher_epochs})
    metric, found = teacher["metric"], {}
    os.chdir(out)  # caches lie beside the runs
    for name, own in variants(asked.storages, asked.views).items():
        rows = []
        for seed in range(asked.seeds):
            folder = out / f"{name.replace(' ', '-')}-{seed}"
            budget = keys | own | {"epochs": asked.epochs, "seed": seed}
            who = None if name == "alone" else [out / "teacher"]
            rows.append(run(folder, asked.student, who, None if who is None else "kd", budget)["student"])
        found[name] = rows
    live = [row[metric] for row in found["live"]]
    lines = [
        f"| variant | {metric}, % | over live, points | verdict | KL of the stored | ms a step |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for name, rows in found.items():
        values = [row[metric] for row in rows]
        gains = [value - other for value, other in zip(values, live, strict=True)]
        mean, gain = sum(values) / len(values), sum(gains) / len(gains)
        step = sum(row["step_ms"] for row in rows) / len(rows)
        over = "" if name == "live" else percent(gain, interval(gains), "+")
        said = "" if name == "live" else verdict(gains)
        kl = kl_of(out, name.removeprefix("cached ")) if name.startswith("cached") else ""
        lines.append(f"| {name} | {percent(mean, interval(values))} | {over} | {said} | {kl} | {step:.0f} |")
    text = "\n".join(
        [
            f"# A cached teacher's accuracy: {data[0]}",
            "",
            f"{asked.teacher} ({100 * teacher['student'][metric]:.2f} %) teaches {asked.student} by KD, "
            f"{asked.epochs} epochs, {asked.views} views; mean ± half the 95 % interval over {asked.seeds} seeds; last "
            "epoch; test split.",
            "",
            *lines,
            "",
            f"    {shlex.join(['python', *sys.argv])}",
            "",
            f"torch {torch.__version__}, tutelage {tutelage.__version__}; {time.time() - began:.0f} s.",
        ]
    )
    (out / "study.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
