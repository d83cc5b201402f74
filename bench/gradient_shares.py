"""Measure the share of the gradient that each loss has with its published weight in the literature's protocol.

    python bench/gradient_shares.py --data npz:cifar.npz --teacher runs/resnet56 --out runs/shares [--write]

The protocol's images (CIFAR-100, 32 × 32, augmented), pair (resnet56 → resnet20), batch of 64 and rate of 0.05, for a
short time: 5 epochs of 4 steps. The share is the median over the epochs after the first of ‖∇ weighted term‖ /
‖∇ task loss‖ over the student; 1 where the paper has no task loss. `--write` puts the shares into the package, where
`weight=auto` reads them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median

import torch

import tutelage
from tutelage import recipes
from tutelage.errors import TutelageError
from tutelage.losses.base import Dense
from tutelage.training.callbacks import Callback
from tutelage.training.events import GradientNorms
from tutelage.utils import registry

FILE = Path(__file__).parents[1] / "src/tutelage/objective/gradient_shares.json"


class Shares(Callback):
    """Collects the ratio of the term's gradient to the task loss's, after the first epoch."""

    def __init__(self) -> None:
        self.ratios: list[float] = []

    def on_gradient_norms(self, event: GradientNorms) -> None:
        """Note the ratio."""
        *task, term = event.norms.values()
        if event.epoch > 0:
            self.ratios.append(term / task[0] if task else 1.0)


def losses() -> list[str]:
    """Return the losses of features, relations and dense maps that take one teacher."""
    entries = registry.catalogue("losses").values()
    taught = [
        e for e in entries if e.needs_teacher and not e.list_inputs and not e.only_for and not recipes.has(e.name)
    ]
    return [e.name for e in taught if e.load().compares != "response" or issubclass(e.load(), Dense)]


def measure(loss: str, data: str, teacher: str, out: Path) -> float | None:
    """Return a loss's share; None if it can't be trained on these networks."""
    shares = Shares()
    try:
        tutelage.distill(
            teacher=teacher, student="resnet20", data=data, method=loss, weight="paper", out=str(out / loss),
            limit=320, epochs=5, batch_size=64, lr=0.05, device="cpu", baseline=False, progress=False,
            callbacks=[shares],
        )  # fmt: skip
    except TutelageError as error:
        print(f"{loss}: {error}")
        return None
    return float(f"{median(shares.ratios):.2g}")


def main() -> None:
    """Measure all losses, print them, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--teacher", required=True, help="the run folder of a resnet56")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    shares: dict[str, float] = json.loads(FILE.read_text(encoding="utf-8"))
    for loss in args.only or losses():
        share = measure(loss, args.data, args.teacher, args.out)
        if share is not None:
            print(f"{loss}: {share:g}", flush=True)
            shares[loss] = share
            if args.write:
                FILE.write_text(json.dumps(dict(sorted(shares.items())), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
