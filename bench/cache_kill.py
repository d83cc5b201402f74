"""A teacher's cache whose building is killed twenty times, at random moments, ends with the bytes of one that wasn't.

    python bench/cache_kill.py

Digits, three views, a residual network's response and two layers, in shards of 64 samples. SIGKILL, then the same in
another process, which is killed in its turn. A build that gets to its end before the kills are used up is compared, and
another one is begun; kills count that came before the end.
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
    """A build in a process of its own, which has imported everything and now begins."""
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
    """Wait for a build that ends well, or was killed."""
    process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        sys.exit(f"{folder} failed with {process.returncode}")


def files(folder: Path) -> dict[str, bytes]:
    """Every file: shards, manifest, locks."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def main() -> None:
    """Build once in peace, then among kills, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = parser.parse_args()
    moments = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as place:
        peace, war = Path(place, "peace"), Path(place, "war-1")
        process = start(peace)
        began = time.monotonic()
        end(process, peace)
        longest = (time.monotonic() - began) / 3
        expected, wars, kills = files(peace), [war], 0
        while kills < asked.kills:
            process, moment = start(war), moments.uniform(0, longest)
            with suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            process.kill()
            end(process, war)
            found = files(war) if war.exists() else {}
            if found == expected:
                war = Path(place, f"war-{len(wars) + 1}")
                wars.append(war)
            else:
                kills += 1
                shards = sum(name.endswith(".safetensors") for name in found)
                print(f"kill {kills:2} after {moment:5.2f} s: {war.name}, {shards} shards", flush=True)
        end(start(war), war)
        equal = len(expected) > VIEWS and all(files(folder) == expected for folder in wars)
    print(f"\nkills {kills} {asked.kills}\nbytes_equal {int(equal)} 1")
    sys.exit(not equal)


if __name__ == "__main__":
    main()
