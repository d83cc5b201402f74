"""Compare ways to distil a generator of images, and a network that translates images: one teacher, a small student.

    python bench/gan.py --fashion FOLDER --out runs/gan [--study generator|translation] [--seeds 3]

FOLDER has FashionMNIST/raw. generator: garments of 16 × 16 pixels, made of latents; the alone student is trained by
scheme=gan. translation: edges of garments, 16 × 16, to the garments, coloured by their class; PSNR. All students of
a study have the same number of epochs and the same seeds; finished runs below --out are reused. Milliseconds are
process time of a step, one thread. Writes bench/results/gan.md.
"""

from __future__ import annotations

import argparse
import colorsys
import json
import math
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from generation import Keys, StepTime, values
from PIL import Image

import tutelage
from tutelage.utils.intervals import confidence_interval, verdict

GAN, PAIRED = {"name": "gan", "width": 8}, {"name": "conditional_gan", "width": 8}
BASE: Keys = {"batch_size": 64, "device": "cpu", "weight_decay": 0.0, "optimizer": "adamw", "ema": 0.98}
COUNTS = {"train": 1500, "val": 200, "test": 500}
DARK = 0.15
"""The step of brightness between neighbouring pixels that is an edge."""


def both(layer: str) -> Keys:
    """Return the keys of a term that compares the layer of this name of both networks."""
    return {"student": layer, "teacher": layer}


@dataclass(frozen=True)
class Study:
    """A teacher, a student and its metrics; the keys of all, of the teacher, of the student alone, and of each way."""

    title: str
    about: str
    teacher: str
    student: str
    metric: str
    higher_is_better: bool
    more: tuple[str, ...]
    epochs: int
    teacher_epochs: int
    keys: Keys
    taught_by: Keys
    alone: Keys
    ways: dict[str, Keys]


L1 = {"name": "output_l1", "weight": 5.0}
STUDIES = {
    "generator": Study(
        "Generators",
        "Fashion-MNIST at 16 × 16, 2,000 images to train; Fréchet distance of 1,000 images of the same latents from "
        "2,000 of the test split, in the features of a classifier (lower is better)",
        "dcgan-16", "dcgan-2", "frechet", False, ("precision", "recall"), 6, 12,
        {"size": 16, "limit": 2000, "batch_size": 32, "lr": 0.001, "task": {"name": "generation"}},
        {"scheme": GAN, "method": "mmd"},
        {"scheme": GAN},
        {
            "`output_l1`, `scheme=gan`": {"method": [L1], "scheme": GAN},
            "`output_l1` + `fitnet`, `scheme=gan`": {
                "method": [L1, {"name": "fitnet", "weight": 0.5, **both("layer1")}], "scheme": GAN,
            },
            "`output_l1`, no discriminator, no image of the data": {"method": [L1 | {"task_loss_weight": 0}]},
            "`output_l1`, `scheme=teacher_gan`": {"method": [L1], "scheme": GAN | {"name": "teacher_gan"}},
            "alone, `mmd`, `scheme=gan`": {"teacher": None, "method": "mmd", "scheme": GAN},
            "`output_l1` + `mmd`, `scheme=gan`": {"method": [L1, {"name": "mmd", "weight": 1.0}], "scheme": GAN},
        },
    ),
    "translation": Study(
        "Translation",
        "edges of Fashion-MNIST's garments to the garments, coloured by their class, 16 × 16; 1,500 pairs to train, "
        "500 to test (higher is better)",
        "unet12", "unet3", "psnr", True, ("ssim",), 10, 20,
        {"lr": 0.005, "augment": "none"},
        {"scheme": PAIRED},
        {"scheme": PAIRED},
        {
            "`output_l1`, `scheme=conditional_gan`": {"method": "output_l1", "scheme": PAIRED},
            "alone, the absolute error only": {"teacher": None, "scheme": "offline"},
            "`output_l1`, no discriminator": {"method": "output_l1"},
            "`output_l1` + `fitnet`, `scheme=conditional_gan`": {
                "method": [{"name": "output_l1"}, {"name": "fitnet", "weight": 0.01, **both("layer3")}],
                "scheme": PAIRED,
            },
        },
    ),
}  # fmt: skip


def edges_and_colours(image: Any, label: int) -> tuple[Any, Any]:
    """Return the edges (16, 16) of a grey image, and the image in its class's colour (16, 16, 3), both uint8."""
    grey = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BOX)) / 255
    steps = np.maximum(*(np.abs(np.diff(grey, axis=axis, append=0.0)) for axis in (0, 1)))
    colour = np.array(colorsys.hsv_to_rgb(label / 10, 0.7, 1.0))
    return (255 * (steps > DARK)).astype(np.uint8), (255 * grey[..., None] * colour).astype(np.uint8)


def write_pairs(fashion: Path, folder: Path) -> str:
    """Write the pairs as images, unless they are there; return the data's name."""
    from torchvision.datasets import FashionMNIST

    if not (folder / "test").exists():
        sources = {is_train: FashionMNIST(str(fashion), train=is_train) for is_train in (True, False)}
        starts = {"train": 0, "val": COUNTS["train"], "test": 0}
        for split, count in COUNTS.items():
            source = sources[split != "test"]
            for kind in ("images", "clean"):
                (folder / split / kind).mkdir(parents=True, exist_ok=True)
            for number in range(starts[split], starts[split] + count):
                pair = edges_and_colours(source.data[number].numpy(), int(source.targets[number]))
                for kind, pixels in zip(("images", "clean"), pair, strict=True):
                    Image.fromarray(pixels).save(folder / split / kind / f"{number:05}.png")
    return f"maps:{folder}"


def finished(folder: Path, keys: Keys) -> float:
    """Train, go on with an unfinished run, or read a finished one; return a step's milliseconds."""
    file, timer = folder / "process.json", StepTime()
    if not file.exists():
        if (folder / "config.yaml").exists():
            tutelage.resume(folder, callbacks=[timer])
        else:
            tutelage.distill(**keys, out=str(folder), progress=False, log_every=10, callbacks=[timer])
        file.write_text(json.dumps(1000 * median(timer.seconds or [math.nan])), encoding="utf-8")
    return float(json.loads(file.read_text(encoding="utf-8")))


def interval(numbers: list[float]) -> str:
    """Return the mean with half of the 95 % interval."""
    bounds = confidence_interval(numbers) if len(numbers) > 1 else None
    return f"{fmean(numbers):.2f}" + (f" ± {(bounds[1] - bounds[0]) / 2:.2f}" if bounds else "")


def row(study: Study, label: str, folder: Path, alone: list[float], ms: float) -> str:
    """Return a line of the table; gains are over the student alone, paired by seed."""
    found = values(folder, "student", study.metric)
    sign = 1 if study.higher_is_better else -1
    gains = [sign * (a - b) for a, b in zip(found, alone, strict=True)] if len(found) == len(alone) > 1 else []
    gained = f"{fmean(gains):+.2f}, {verdict(gains)}" if gains and found != alone else ""
    more = [f"{fmean(values(folder, 'student', name)):.3f}" for name in study.more]
    return f"| {label} | {len(found)} | {interval(found)} | {gained} | {' | '.join(more)} | {ms:.0f} |"


def train(study: Study, data: Keys, out: Path, seeds: int) -> Iterator[str]:
    """Train what isn't trained yet; yield the lines of the table."""
    keys = BASE | study.keys | data | {"teacher": None, "method": None, "baseline": False}
    teacher = out / "teacher"
    ms = finished(teacher, keys | study.taught_by | {"student": study.teacher, "epochs": study.teacher_epochs})
    yield row(study, f"teacher, {describe(study.teacher, teacher)}, {study.teacher_epochs} epochs", teacher, [], ms)
    if study.metric == "frechet":
        keys["task"] = keys["task"] | {"judge": str(teacher / "student-0" / "judge.safetensors")}
    keys |= {"student": study.student, "epochs": study.epochs, "seeds": seeds}
    plain = out / f"alone-{seeds}"
    ms = finished(plain, keys | study.alone)
    alone = values(plain, "student", study.metric)
    yield row(study, f"{describe(study.student, plain)} alone, {study.epochs} epochs", plain, alone, ms)
    for number, (label, way) in enumerate(study.ways.items()):
        folder = out / f"way-{number}-{seeds}"
        ms = finished(folder, keys | {"teacher": str(teacher)} | way)
        yield row(study, label, folder, alone, ms)


def describe(name: str, folder: Path) -> str:
    """Return the network's name and size."""
    return f"{name} ({sum(p.numel() for p in tutelage.load(folder).parameters()):,} parameters)"


def main() -> None:
    """Train the studies that were chosen, and write the table of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, required=True, help="folder of FashionMNIST/raw")
    parser.add_argument("--out", type=Path, default=Path("runs/gan"))
    parser.add_argument("--study", choices=[*STUDIES], action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "gan.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    about = (
        f"Means over {args.seeds} seeds with half of the 95 % interval, last epoch, test split; one teacher; gains "
        "over the student alone, paired by seed."
    )
    command = shlex.join(["python", *sys.argv]).replace(str(args.fashion), "FOLDER")
    lines = ["# Generators and translation of images", "", about, "", f"`{command}`; torch {torch.__version__}.", ""]
    for name in args.study or STUDIES:
        study, out = STUDIES[name], args.out / name
        fashion = f"fashion-mnist:{args.fashion}"
        data = {"data": fashion if name == "generator" else write_pairs(args.fashion, out / "pairs")}
        lines += [f"## {study.title}", "", f"{study.about}.", ""]
        lines += [f"| | seeds | {study.metric} | gain | {' | '.join(study.more)} | ms a step |"]
        lines += [f"|---|---:|---:|---|{'---:|' * (len(study.more) + 1)}"]
        for line in train(study, data, out, args.seeds):
            lines.append(line)
            args.results.write_text("\n".join(lines) + "\n", encoding="utf-8")
            print(line, flush=True)
        lines.append("")


if __name__ == "__main__":
    main()
