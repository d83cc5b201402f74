"""Record the sha256 of the students of every kind of run at a tiny budget, to compare before and after a refactoring.

    python bench/record.py before.json
    python bench/record.py after.json --against before.json

Every recipe, twenty methods of different kinds, and a cached, a staged, a several-teacher, a segmentation and a
label-column run, on one thread. Hashes are of names, shapes and values of the students' tensors, so they are only
comparable on one machine with one version of torch; whether a difference is intended is for its reader to judge. With
--against the last lines are the figures, and the exit status is 1 if any hash differs or is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import conclude
from PIL import Image
from safetensors.torch import load_file

import tutelage
from tutelage import recipes

TINY: dict[str, Any] = {"epochs": 1, "limit": 60, "batch_size": 20, "device": "cpu", "baseline": False}
PAIR: dict[str, Any] = {"student": "resnet8", "teacher": "resnet20", "teacher_epochs": 1}
METHODS = (
    "kd", "dkd", "dist", "nkd", "logit_mse", "ttm", "wsld", "fitnet", "at", "ofd", "vid", "reviewkd", "semckd", "srrl",
    "simkd", "rkd_distance", "sp", "crd", "pkt", "kd+0.5*at+sp",
)  # fmt: skip


def runs(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each run's name and keys."""
    for name in recipes.names():
        yield f"recipe {name}", {"method": name}
    for method in METHODS:
        yield f"method {method}", PAIR | {"method": method}
    yield "cached", PAIR | {"cache": str(folder / "cache"), "views": 1, "method": "kd+at"}
    stages = [
        {"name": "hint", "method": "fitnet"},
        {"name": "student", "student_weights": "stage:hint", "method": "kd"},
    ]
    yield "staged", PAIR | {"stages": stages}
    yield "several teachers", PAIR | {"teacher": ["cnn4", "resnet8"], "method": "aekd"}
    yield "segmentation", {"data": f"segmentation:{streets(folder / 'streets')}", "size": 16, "limit": None} | {
        "teacher": "seg8", "student": "seg8", "method": "cwd", "batch_size": 6,
    }  # fmt: skip
    yield "label columns", PAIR | {"data": f"npz:{columns(folder / 'columns.npz')}", "method": "kd"}


def streets(folder: Path) -> Path:
    """Write noise images with masks of three classes."""
    random = np.random.default_rng(0)
    for kind, shape, top in (("images", (16, 16, 3), 256), ("masks", (16, 16), 3)):
        (folder / kind).mkdir(parents=True)
        for number in range(24):
            Image.fromarray(random.integers(top, size=shape, dtype=np.uint8)).save(folder / kind / f"{number:02}.png")
    return folder


def columns(file: Path) -> Path:
    """Write noise images with two label columns, one of them partly unlabelled."""
    random = np.random.default_rng(0)
    labels = np.stack([random.integers(3, size=90), random.integers(-1, 4, size=90)], axis=1)
    images = random.integers(256, size=(90, 8, 8), dtype=np.uint8)
    np.savez(file, x_train=images, y_train=labels, columns=["shape", "shade"])
    return file


def hash_of(folder: Path) -> str:
    """Return the hash of all students in a run's folder."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("student*/*.safetensors")):
        digest.update(file.name.encode())
        for name, value in sorted(load_file(file).items()):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def record(only: str) -> dict[str, str]:
    """Return the hash of each run whose name contains a text, or its error."""
    hashes: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as root:
        for number, (name, keys) in enumerate(runs(Path(root))):
            if only in name:
                try:
                    run = tutelage.distill(**TINY | keys, out=f"{root}/run-{number}", progress=False)
                    hashes[name] = hash_of(run.folder)
                except tutelage.TutelageError as error:
                    hashes[name] = f"error: {error}"
                print(f"{hashes[name][:16]:16} {name}", flush=True)
    return hashes


def main() -> None:
    """Record the hashes, and compare them with earlier ones if given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--only", default="", help="only record runs whose name contains this text")
    args = parser.parse_args()
    torch.set_num_threads(1)
    hashes = record(args.only)
    args.file.write_text(json.dumps(hashes, indent=1) + "\n")
    failed = sum(value.startswith("error") for value in hashes.values())
    before = json.loads(args.against.read_text()) if args.against else hashes
    differing = [name for name in hashes if hashes[name] != before.get(name)]
    print(*(f"differs: {name}" for name in differing), sep="\n")
    conclude([("runs that fail", failed, 0), ("students that differ", len(differing), 0)])


if __name__ == "__main__":
    main()
