"""Kill a study five times, at random, and compare its figures with those of the same study that went through.

    python bench/kill_study.py [--kills 5]

The study is killed by SIGKILL with all its workers whenever two more trials are done, and goes on when it is called.
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
from pathlib import Path
from typing import Any

import measure

from tutelage.study.store import Store

WORDS = [
    "data=digits", "limit=160", "epochs=6", "teacher_epochs=3", "device=cpu", "seeds=3", "students=[cnn2]",
    "teachers=[cnn4]", "methods=[at, dml, ps_kd, reviewkd]", "processes=2", "checkpoint_every=0",
]  # fmt: skip


def begin(out: Path) -> subprocess.Popen[bytes]:
    """Start the study, or let it go on."""
    command = [sys.executable, "-m", "tutelage", "compare", *WORDS, f"out={out}"]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)


def figures(out: Path) -> dict[tuple[str, str, int], Any]:
    """Return each trial's state and its student's figures."""
    trials = Store.open(out).trials().values()
    return {
        (t.trial.role, t.trial.method, t.trial.seed): (t.state, t.result and t.result["student"]["values"])
        for t in trials
    }


def ended(out: Path) -> int:
    """Return the number of trials that are done; 0 for a study that hasn't begun."""
    return sum(state == "done" for state, _ in figures(out).values()) if (out / "study.db").exists() else 0


def main() -> None:
    """Run both studies, and count the figures that differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        whole, killed = Path(root) / "whole", Path(root) / "killed"
        begin(whole).wait()
        draw = random.Random(0)
        for number in range(args.kills):
            before, process = ended(killed), begin(killed)
            while process.poll() is None and ended(killed) < before + 2:
                time.sleep(0.05)
            time.sleep(draw.random())
            alive = process.poll() is None
            if alive:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            print(f"kill {number + 1}: {'in the middle' if alive else 'it had ended'}, {ended(killed)} trials done")
        begin(killed).wait()
        first, second = figures(whole), figures(killed)
    differing = sum(first.get(key) != second.get(key) for key in {**first, **second})
    measure.conclude([("trials whose figures differ", differing, 0)])


if __name__ == "__main__":
    main()
