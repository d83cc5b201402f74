"""Check that a run gives bitwise identical weights if it is killed twenty times at random moments.

    python bench/kill.py
    python bench/kill.py --task segmentation regression ranking --kills 5
    python bench/kill.py --task all --kills 5

Digits, or a tiny run of each task that is named (tiny_tasks.py): teacher, student alone, student with the teacher. Each
run is killed by SIGKILL, then resumed by `python -m tutelage resume` in another process, which is killed in turn. A run
that finishes before all kills are used is compared, and another one is started.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiny_tasks import TASKS

DIGITS = "digits"
KEYS: dict[str, Any] = {"data": "digits", "epochs": 20, "teacher_epochs": 20}
FIXED = {"seed": 3, "device": "cpu", "checkpoint_every": 0.2}
PHASES = ("teacher", "baseline-0", "student-0")
READY = """
import runpy, sys, lightning.fabric, torchmetrics, tutelage
print("ready", flush=True)
runpy.run_module("tutelage", run_name="__main__")
"""


def start(arguments: Sequence[str]) -> subprocess.Popen[str]:
    """Start `python -m tutelage …` in another process, and return once it has finished its imports."""
    process = subprocess.Popen(
        [sys.executable, "-c", READY, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def start_or_resume(folder: Path, keys: dict[str, Any]) -> subprocess.Popen[str]:
    """Start the run, or resume it if its folder exists."""
    if (folder / "environment.json").exists():
        return start(["resume", str(folder)])
    arguments = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in keys.items()]
    return start(["distill", *arguments, f"out={folder}"])


def finish(folder: Path, keys: dict[str, Any]) -> None:
    """Run it to the end."""
    process = start_or_resume(folder, keys)
    process.communicate()
    if process.returncode:
        sys.exit(f"{folder} failed with {process.returncode}: run tutelage resume {folder} to see why")


def whereabouts(folder: Path) -> str:
    """Describe the current phase and its newest checkpoint."""
    for phase in PHASES:
        if (folder / phase).exists() and not (folder / phase / "phase.json").exists():
            steps = sorted((folder / phase / "checkpoints").glob("step-*.pt"))
            return f"{phase}, {steps[-1].stem if steps else 'no checkpoint'}"
    return "between phases"


def weights(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every model's file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}


def keys_of(task: str, folder: Path) -> dict[str, Any]:
    """Return the keys of a task's run, whose data is written below a folder."""
    if task == DIGITS:
        return KEYS | FIXED
    keys = {"batch_size": 32, "epochs": 3} | TASKS[task](folder) | FIXED
    return keys if "teacher_weights" in keys else {"teacher_epochs": 3} | keys


def survives(task: str, kills: int, moments: random.Random) -> bool:
    """Run once without and several times with kills; print and return whether all models are equal."""
    with tempfile.TemporaryDirectory() as root:
        keys = keys_of(task, Path(root, "data"))
        undisturbed, killed = Path(root, "undisturbed"), Path(root, "killed-1")
        began = time.monotonic()
        finish(undisturbed, keys)
        longest = (time.monotonic() - began) * min(0.3, 10 / 3 / kills)
        killed_folders = [killed]
        for kill in range(1, kills + 1):
            process = start_or_resume(killed, keys)
            moment = moments.uniform(0, longest)
            time.sleep(moment)
            if process.poll():
                sys.exit(f"{killed} failed with {process.returncode}")
            process.kill()
            process.communicate()
            print(f"{task}, kill {kill:2} after {moment:5.2f} s: {killed.name}, {whereabouts(killed)}", flush=True)
            if (killed / "report.html").exists():
                killed = Path(root, f"killed-{len(killed_folders) + 1}")
                killed_folders.append(killed)
        finish(killed, keys)
        expected = weights(undisturbed)
        equal = bool(expected) and all(weights(folder) == expected for folder in killed_folders)
    print(f"kills of {task} {kills} {kills}\nbitwise_equal, {task} {int(equal)} 1\n", flush=True)
    return equal


def main() -> None:
    """Check each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", default=[DIGITS], choices=[DIGITS, "all", *TASKS])
    parser.add_argument("--kills", type=int, default=20, help="of each task")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    args = parser.parse_args()
    moments = random.Random(args.seed)
    tasks = list(TASKS) if args.task == ["all"] else args.task
    results = [survives(task, args.kills, moments) for task in tasks]
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
