"""Run a study of forecasts: a recurrent teacher, and a small convolutional student, on a generated hourly load.

    python bench/series.py --out runs/series

The load has a daily and a weekly season, a slow trend of a second column that leads it by six hours, and noise that
depends on the hour before. Every run has its own folder below --out; finished runs are reused, unfinished ones
resumed. Metrics are those of the last epoch on the test split, the last rows; written to series.md below --out.
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

import numpy as np
import torch
from real import markdown, rows, run, slug

HOURS = 2400
TEACHER, STUDENT, METHODS = "gru-1-48", "tcn-3-4", ("logit_mse", "output_huber", "rkd")
READING = {"window": 48, "horizon": 12, "stride": 2, "season": 24, "time": "time"}


def prepare(path: Path) -> Path:
    """Write the table; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng, noise, heat = np.random.default_rng(0), 0.0, np.zeros(HOURS + 6)
    lines = ["time,load,heat"]
    for hour in range(HOURS + 6):
        heat[hour] = 0.97 * heat[hour - 1] + 0.3 * rng.normal()
        noise = 0.6 * noise + 0.4 * rng.normal()
        season = 3 * np.sin(2 * np.pi * hour / 24) + (2 if hour // 24 % 7 < 5 else 0)
        if hour >= 6:
            stamp = np.datetime64("2024-01-01T00") + np.timedelta64(hour, "h")
            lines.append(f"{stamp},{20 + season + 1.5 * heat[hour - 6] + noise:.4f},{heat[hour]:.4f}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def main() -> None:
    """Run everything, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    args, start = parser.parse_args(), time.process_time()
    torch.set_num_threads(1)
    keys: dict[str, Any] = {"data": f"windows:{prepare(args.out.resolve() / 'load.csv')}", "target": "load"}
    keys |= {"reading": READING, "batch_size": 32, "device": "cpu", "lr": 0.02}
    results: dict[Any, Any] = {"teacher": run(args.out / "teacher", TEACHER, None, keys | {"epochs": 12, "seed": 0})}
    for seed, method in product(range(args.seeds), ("alone", *METHODS)):
        settings = keys | {"epochs": 12, "seed": seed}
        name, more = (None, {}) if method == "alone" else (method, {"teacher": str(args.out / "teacher")})
        results[STUDENT, method, seed] = run(args.out / f"{slug(method)}-{seed}", STUDENT, name, settings | more)
    table = rows(SimpleNamespace(students=[STUDENT], methods=METHODS, seeds=args.seeds, teacher=TEACHER), results)
    data = results["teacher"]["data"]
    lines = [
        "# Forecasts",
        "",
        f"{data['train']} training and {data['test']} test windows; MASE, lower is better. Mean ± half of the 95 % "
        f"interval over {args.seeds} seeds of the student, one teacher; 12 epochs; gains paired by seed.",
        "",
        markdown(table, "mase"),
        "",
        f"    {shlex.join(['python', *sys.argv])}",
        "",
        f"torch {torch.__version__}; {time.process_time() - start:.0f} s of process time.",
    ]
    (args.out / "series.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
