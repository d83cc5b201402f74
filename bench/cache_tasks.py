"""Check that a cached teacher teaches what the live one does, for each task whose teacher outputs without labels.

    python bench/cache_tasks.py

Each tiny run (tiny_tasks.py) is done twice, with and without cache=true, cache_storage=exact. The students' weights are
compared: bitwise where all batches are full, else within 1e-6, since the sums of a smaller last batch may have another
order.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import measure
import torch
from safetensors.torch import load_file
from tiny_tasks import TASKS

import tutelage

WITHOUT_CACHE = ("tables",)
"""Tasks whose student is fitted at once, not in batches."""


def difference(task: str, folder: Path) -> tuple[float, bool]:
    """Return the largest difference of a weight with and without the cache, and whether all batches are full."""
    keys = {"batch_size": 32} | TASKS[task](folder / "data")
    keys |= {"epochs": 3, "views": 1, "seed": 3, "device": "cpu", "baseline": False, "progress": False}
    if "teacher_weights" not in keys:
        keys["teacher_epochs"] = 3
    live, cached = (
        tutelage.distill(**keys, cache=cache, cache_storage="exact", out=str(folder / name))
        for name, cache in (("live", False), ("cached", str(folder / "cache")))
    )
    expected, weights = (load_file(run.folder / "student.safetensors") for run in (live, cached))
    largest = max(float((expected[name] - weights[name]).abs().max()) for name in expected)
    return largest, live.result["data"]["train"] % keys["batch_size"] == 0


def main() -> None:
    """Run each task twice, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [name for name in TASKS if name not in WITHOUT_CACHE]
    parser.add_argument("--tasks", nargs="+", default=names, choices=names)
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures = []
    for task in args.tasks:
        with tempfile.TemporaryDirectory() as root:
            largest, full = difference(task, Path(root))
        print(f"{task}: {largest:.2g}, {'full batches' if full else 'a smaller last batch'}", flush=True)
        figures.append((f"largest difference, {task}", largest, 0 if full else 1e-6))
    measure.conclude(figures)


if __name__ == "__main__":
    main()
