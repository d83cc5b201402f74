"""Measure what a study of eight methods costs with one cached teacher, against eight runs with a live one.

    python bench/compare_cost.py [--size 16]

Both are studies of the same trials (one seed, one thread, process time of the trials, without the teacher's training):
one computes the teacher's outputs once, the other runs the teacher in each trial. The student alone, which a study has
beside its methods, counts on the side of the cache. The default pair is the literature's first, with its 32×32 pixels:
in smaller images the student's step is dearer, relative to the teacher's forward pass, and the cache saves less. The
cache's one view to four epochs is more than that of a study of 240 epochs, which has four.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import measure

import tutelage
from tutelage.study.store import Store

METHODS = ["kd", "dkd", "dist", "nkd", "at", "fitnet", "rkd_distance", "pkt"]
KEYS: dict[str, Any] = {
    "data": "digits", "limit": 640, "device": "cpu", "epochs": 4, "views": 1, "seeds": 1, "processes": 1,
}  # fmt: skip


def seconds(out: Path, cache: bool, **keys: Any) -> dict[str, float]:
    """Return the process time of each trial of a study but the teacher's."""
    tutelage.compare(METHODS, cache=cache, out=str(out), **KEYS | keys)
    trials = Store.open(out).trials().values()
    if failed := [trial.reason for trial in trials if trial.state != "done"]:
        raise SystemExit(failed[0])
    return {trial.trial.method: trial.seconds or 0.0 for trial in trials if trial.trial.role != "teacher"}


def main() -> None:
    """Run both studies, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="resnet32x4")
    parser.add_argument("--student", default="resnet8x4")
    parser.add_argument("--size", type=int, default=32, help="the images' side")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        keys = {"data": "digits", "limit": KEYS["limit"], "device": "cpu", "epochs": 2, "size": args.size}
        tutelage.train(args.teacher, **keys, out=f"{root}/teacher")
        networks = {"students": [args.student], "teachers": [f"{root}/teacher"], "size": args.size}
        cached = seconds(Path(root) / "cached", True, **networks)
        live = seconds(Path(root) / "live", False, **networks)
    for method in ["alone", *METHODS]:
        print(f"{method}: {cached[method]:.1f} s from the cache, {live[method]:.1f} s live")
    total = sum(cached.values()) / sum(live[method] for method in METHODS)
    measure.conclude([("a study of eight methods / eight live runs", total, 0.5)])


if __name__ == "__main__":
    main()
