"""Wrong labels that `tutelage explain` finds: digits, of which some training labels are made wrong at random.

    python bench/wrong_labels.py [--shares 0.02 0.05 0.1] [--seeds 3] [--out runs/wrong]

For each share of wrong labels and each seed, which also draws them, a teacher cnn32 and a student cnn8 have 20 epochs
each, with kd. Prints how many training labels are wrong, how many teacher and student contradict, and how many of these
are wrong.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import tutelage
from tutelage.explanation.opened_run import open_finished
from tutelage.runs.inputs import Provided

TRAIN, CLASSES = 1438, 10


def write(path: Path, share: float, seed: int) -> set[int]:
    """Write the digits with wrong training labels; return the numbers of these samples."""
    digits, random = load_digits(), np.random.default_rng(seed)
    order = random.permutation(len(digits.images))
    images, labels = (digits.images[order] * 16).clip(0, 255).astype(np.uint8), digits.target[order]
    wrong = random.choice(TRAIN, round(share * TRAIN), replace=False)
    given = labels.copy()
    given[wrong] = (labels[wrong] + random.integers(1, CLASSES, len(wrong))) % CLASSES
    train, test = slice(0, TRAIN), slice(TRAIN, None)
    np.savez(path, x_train=images[train], y_train=given[train], x_test=images[test], y_test=labels[test])
    return {*wrong.tolist()}


def find(folder: Path, share: float, seed: int) -> tuple[int, int, int]:
    """Return the numbers of wrong training labels, of contradicted ones, and of wrong ones among these."""
    folder.mkdir(parents=True)
    wrong = write(folder / "digits.npz", share, seed)
    keys = {"data": f"npz:{folder / 'digits.npz'}", "val": 0.1, "seed": seed, "epochs": 20, "teacher_epochs": 20}
    run = tutelage.distill("cnn8", "cnn32", method="kd", device="cpu", out=str(folder / "run"), progress=False, **keys)
    found = tutelage.explain(run, only="labels")["groups"]["labels"]["contradicted"]["values"]["samples"]
    rows = open_finished(run.folder, Provided(), len(wrong), None).data.train.rows.tolist()
    contradicted = {rows[number] for number in found}
    return len(wrong & {*rows}), len(contradicted), len(wrong & contradicted)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", nargs="+", type=float, default=[0.02, 0.05, 0.1])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/wrong"))
    options = parser.parse_args()
    print("| wrong labels | seed | contradicted | of them wrong | found |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for share in options.shares:
        for seed in range(options.seeds):
            wrong, contradicted, both = find(options.out / f"{share:g}-{seed}", share, seed)
            print(f"| {wrong} | {seed} | {contradicted} | {both} | {both / max(wrong, 1):.0%} |", flush=True)


if __name__ == "__main__":
    main()
