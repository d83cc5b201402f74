"""Check the demo's verdict for different threads, memory layouts, kernels, denormals and builds of torch.

    python bench/demo.py [--seeds 10] [--python OTHER_VENV/bin/python …]

Each variant trains the demo's configuration in a separate process. A figure is half of the gain's 95 % interval divided
by the gain: below 1 the verdict is "beats", and the bound leaves a margin.
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
DEFAULTS: dict[str, Any] = {"threads": 1, "channels_last": True, "fused": True, "flush": False}
VARIANTS: dict[str, dict[str, Any]] = {
    "one thread": {},
    "two threads": {"threads": 2},
    "no channels_last": {"channels_last": False},
    "no fused kernels": {"fused": False},
    "denormals flushed": {"flush": True},
    "all of these": {"threads": 2, "channels_last": False, "fused": False, "flush": True},
}


def train_demo(variant: dict[str, Any], seeds: int) -> dict[str, Any]:
    """Train the demo in this process."""
    import torch

    from tutelage import api
    from tutelage.config.schema import read
    from tutelage.runs.run import Run
    from tutelage.training import optimizers

    torch.set_num_threads(variant["threads"])
    torch.set_flush_denormal(variant["flush"])
    if not variant["fused"]:
        optimizers.SGD = lambda parameters, **options: torch.optim.SGD(parameters, **{**options, "fused": False})  # type: ignore
    with tempfile.TemporaryDirectory() as folder:
        keys = {"channels_last": variant["channels_last"], "seeds": seeds, "out": f"{folder}/demo"}
        result = api.open_run(Run(read(DEMO, **keys)).fit()).result
    return {"torch": torch.__version__, **{role: result[role]["accuracy"] for role in ("baseline", "student")}} | {
        key: result["gain"][key] for key in ("mean", "interval", "verdict")
    }


def train_in_process(python: str, variant: dict[str, Any], seeds: int) -> dict[str, Any]:
    """Train the demo in another process, with that Python."""
    command = [python, __file__, "--one", json.dumps(DEFAULTS | variant), "--seeds", str(seeds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--python", nargs="*", default=[])
    parser.add_argument("--one", type=json.loads)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(train_demo(args.one, args.seeds)))
        return
    runs = {name: partial(train_in_process, sys.executable, variant, args.seeds) for name, variant in VARIANTS.items()}
    runs |= {f"{python}, one thread": partial(train_in_process, python, {}, args.seeds) for python in args.python}
    figures = []
    print("| variant | torch | alone | with teacher | gain, points | 95 % interval | verdict |" + "\n|" + " --- |" * 7)
    for name, run in runs.items():
        result = run()
        low, high = (100 * bound for bound in result["interval"])
        cells = (
            name,
            result["torch"],
            f"{result['baseline']:.3f}",
            f"{result['student']:.3f}",
            f"{100 * result['mean']:+.1f}",
            f"{low:+.1f} … {high:+.1f}",
            result["verdict"],
        )
        print(f"| {' | '.join(cells)} |", flush=True)
        figures.append(
            (
                f"demo, {name}: half of the interval / gain".replace(" ", "_"),
                (high - low) / 2 / abs(100 * result["mean"]),
                BOUND,
            )
        )
    print()
    conclude(figures)


if __name__ == "__main__":
    main()
