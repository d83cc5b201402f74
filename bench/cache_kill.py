"""Check that building a teacher's cache gives identical bytes if it is killed twenty times at random moments.

    python bench/cache_kill.py

Digits, three views, a residual network's response and two layers, in shards of 64 samples. Each build is killed by
SIGKILL and continued in another process, which is killed in turn. A build that finishes before all kills are used is
compared, and another one is started; only kills before the end count.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

VIEWS = 3
BUILD = f"""
import sys, torch, tutelage
from pathlib import Path
from tutelage import data, models
from tutelage.cache import store
from tutelage.tasks.classification import Classification
from tutelage.teachers.cached import Cached, Plan
from tutelage.teachers.frozen import Frozen

store.SHARD_ROWS = 64
torch.set_num_threads(1)
torch.manual_seed(0)
digits = data.load("digits", augment="shift")
model = models.create("resnet8", classes=10, channels=1, task="classification").model
print("ready", flush=True)
teacher = Cached(Frozen(model, Classification()), digits, Plan(Path(sys.argv[1]), "fp16", {VIEWS}))
teacher.prepare_for(["layer1", "layer2"], ["layer2"])
for view in range({VIEWS}):
    teacher.build(view)
"""


def start(folder: Path) -> subprocess.Popen[str]:
    """Start a build in another process, and return once it has finished its imports."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD, str(folder)],
        stdout=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def end(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait for a build to succeed or to be killed; exit if it failed otherwise."""
    process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        sys.exit(f"{folder} failed with {process.returncode}")


def files(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file: shards, manifest, locks."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def main() -> None:
    """Build once without and several times with kills, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    args = parser.parse_args()
    moments = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as root:
        undisturbed, killed = Path(root, "undisturbed"), Path(root, "killed-1")
        process = start(undisturbed)
        began = time.monotonic()
        end(process, undisturbed)
        longest = (time.monotonic() - began) / 3
        expected, killed_folders, kills = files(undisturbed), [killed], 0
        while kills < args.kills:
            process, moment = start(killed), moments.uniform(0, longest)
            with suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            process.kill()
            end(process, killed)
            current = files(killed) if killed.exists() else {}
            if current == expected:
                killed = Path(root, f"killed-{len(killed_folders) + 1}")
                killed_folders.append(killed)
            else:
                kills += 1
                shards = sum(name.endswith(".safetensors") for name in current)
                print(f"kill {kills:2} after {moment:5.2f} s: {killed.name}, {shards} shards", flush=True)
        end(start(killed), killed)
        equal = len(expected) > VIEWS and all(files(folder) == expected for folder in killed_folders)
    print(f"\nkills {kills} {args.kills}\nbytes_equal {int(equal)} 1")
    sys.exit(not equal)


if __name__ == "__main__":
    main()
