"""Check that a run gives bitwise identical weights if it is killed twenty times at random moments.

    python bench/kill.py

Digits: teacher, student alone, student with the teacher. Each run is killed by SIGKILL, then resumed by `python -m
tutelage resume` in another process, which is killed in turn. A run that finishes before all kills are used is compared,
and another one is started.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

KEYS = ["data=digits", "epochs=20", "teacher_epochs=20", "seed=3", "device=cpu", "checkpoint_every=0.2"]
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


def start_or_resume(folder: Path) -> subprocess.Popen[str]:
    """Start the run, or resume it if its folder exists."""
    if (folder / "environment.json").exists():
        return start(["resume", str(folder)])
    return start(["distill", *KEYS, f"out={folder}"])


def finish(folder: Path) -> None:
    """Run it to the end."""
    process = start_or_resume(folder)
    process.communicate()
    if process.returncode:
        sys.exit(f"{folder} failed with {process.returncode}")


def whereabouts(folder: Path) -> str:
    """Describe the current phase and its newest checkpoint."""
    for phase in PHASES:
        if not (folder / phase / "phase.json").exists():
            steps = sorted((folder / phase / "checkpoints").glob("step-*.pt"))
            return f"{phase}, {steps[-1].stem if steps else 'no checkpoint'}"
    return "results and report"


def weights(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every network's file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}


def main() -> None:
    """Run once without and several times with kills, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    args = parser.parse_args()
    moments = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as root:
        undisturbed, killed = Path(root, "undisturbed"), Path(root, "killed-1")
        began = time.monotonic()
        finish(undisturbed)
        longest = (time.monotonic() - began) / 6
        killed_folders = [killed]
        for kill in range(1, args.kills + 1):
            process = start_or_resume(killed)
            moment = moments.uniform(0, longest)
            time.sleep(moment)
            if process.poll():
                sys.exit(f"{killed} failed with {process.returncode}")
            process.kill()
            process.communicate()
            print(f"kill {kill:2} after {moment:5.2f} s: {killed.name}, {whereabouts(killed)}", flush=True)
            if (killed / "report.html").exists():
                killed = Path(root, f"killed-{len(killed_folders) + 1}")
                killed_folders.append(killed)
        finish(killed)
        expected = weights(undisturbed)
        equal = bool(expected) and all(weights(folder) == expected for folder in killed_folders)
    print(f"\nkills {args.kills} {args.kills}\nbitwise_equal {int(equal)} 1")
    sys.exit(not equal)


if __name__ == "__main__":
    main()
