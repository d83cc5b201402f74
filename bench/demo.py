"""The demo's verdict wherever it runs: threads, memory layout, fused kernels, denormals, another build of torch.

    python bench/demo.py [--seeds 10] [--python OTHER_VENV/bin/python …]

Each way is a process of its own that trains the demo's configuration. A figure is half of the gain's 95 % interval as a
share of the gain: below 1 the verdict is "beats", and the bound leaves room below that.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from measure import conclude

DEMO = Path(__file__).parents[1] / "examples" / "demo.yaml"
BOUND = 0.75
USUAL: dict[str, Any] = {"threads": 1, "channels_last": True, "fused": True, "flush": False}
WAYS: dict[str, dict[str, Any]] = {
    "one thread": {},
    "two threads": {"threads": 2},
    "no channels_last": {"channels_last": False},
    "no fused kernels": {"fused": False},
    "denormals flushed": {"flush": True},
    "all of these": {"threads": 2, "channels_last": False, "fused": False, "flush": True},
}


def one(way: dict[str, Any], seeds: int) -> dict[str, Any]:
    """Train the demo in this process."""
    import torch

    from tutelage import api
    from tutelage.config.schema import read
    from tutelage.runs.run import Run
    from tutelage.training import optimizers

    torch.set_num_threads(way["threads"])
    torch.set_flush_denormal(way["flush"])
    if not way["fused"]:
        optimizers.SGD = lambda parameters, **options: torch.optim.SGD(parameters, **{**options, "fused": False})  # type: ignore
    with tempfile.TemporaryDirectory() as folder:
        keys = {"channels_last": way["channels_last"], "seeds": seeds, "out": f"{folder}/demo"}
        result = api.finished(Run(read(DEMO, **keys)).fit()).result
    return {"torch": torch.__version__, **{role: result[role]["accuracy"] for role in ("alone", "student")}} | {
        key: result["gain"][key] for key in ("mean", "interval", "verdict")
    }


def apart(python: str, way: dict[str, Any], seeds: int) -> dict[str, Any]:
    """Train it in a process of its own."""
    words = [python, __file__, "--one", json.dumps(USUAL | way), "--seeds", str(seeds)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--python", nargs="*", default=[])
    parser.add_argument("--one", type=json.loads)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(asked.one, asked.seeds)))
        return
    runs = {name: partial(apart, sys.executable, way, asked.seeds) for name, way in WAYS.items()}
    runs |= {f"{python}, one thread": partial(apart, python, {}, asked.seeds) for python in asked.python}
    figures = []
    print("| where | torch | alone | taught | gain, points | 95 % interval | verdict |" + "\n|" + " --- |" * 7)
    for name, run in runs.items():
        found = run()
        low, high = (100 * bound for bound in found["interval"])
        cells = (
            name,
            found["torch"],
            f"{found['alone']:.3f}",
            f"{found['student']:.3f}",
            f"{100 * found['mean']:+.1f}",
            f"{low:+.1f} … {high:+.1f}",
            found["verdict"],
        )
        print(f"| {' | '.join(cells)} |", flush=True)
        figures.append(
            (
                f"demo, {name}: half of the interval / gain".replace(" ", "_"),
                (high - low) / 2 / abs(100 * found["mean"]),
                BOUND,
            )
        )
    print()
    conclude(figures)


if __name__ == "__main__":
    main()
