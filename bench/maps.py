"""Maps of values: a teacher, the student alone and methods that teach it, over several seeds, for each kind of map.

    python bench/maps.py DATA --out runs/maps [--study eurosat|nuclei|depth|keypoints|flow] [--seeds 3]

DATA has the folders eurosat (train/CLASS/*.jpg, test/…) and bbbc039-count (images/, labels/). `eurosat`:
images resized to 32 pixels, from 16; `nuclei`: counting by density, from the label maps; the others: tiny_tasks.py.
Writes bench/results/maps.md; finished runs are read, not repeated.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import tiny_tasks
import torch
from PIL import Image

import tutelage
from tutelage.utils.intervals import confidence_interval, verdict

BASE: dict[str, Any] = {
    "device": "cpu", "log_every": 50, "keep": "last", "optimizer": "adamw", "weight_decay": 0.0,
    "batch_size": 16,
}  # fmt: skip
HIGHER_IS_BETTER = ("psnr", "pck10")
LAYER = {"student": "layer4", "teacher": "layer4"}

STUDIES: dict[str, dict[str, Any]] = {
    "eurosat": {
        "keys": {
            "teacher": "edsr4x16-x2",
            "student": "edsr1x4-x2",
            "limit": 1000,
            "size": 32,
            "epochs": 12,
            "lr": 0.002,
            "val": 0.02,
        },
        "teacher_epochs": 20,
        "ways": {
            "output_l1": {"method": "output_l1"},
            "output_l1 + fakd": {"method": [{"name": "output_l1"}, {"name": "fakd", **LAYER}]},
            "output_l1 + fitnet": {"method": [{"name": "output_l1"}, {"name": "fitnet", "weight": 0.1, **LAYER}]},
        },
        "figures": ("psnr", "ssim"),
    },
    "nuclei": {
        "keys": {"teacher": "unet6", "student": "unet2", "epochs": 20, "lr": 0.01},
        "teacher_epochs": 30,
        "ways": {
            "logit_mse": {"method": "logit_mse"},
            "at": {"method": "at"},
            "logit_mse + sp": {"method": "logit_mse+sp"},
        },
        "figures": ("mae", "rmse"),
    },
    "depth": {
        "keys": {"teacher": "unet8", "student": "unet2", "epochs": 20, "lr": 0.01},
        "teacher_epochs": 40,
        "ways": {"output_l1": {"method": "output_l1"}, "at": {"method": "at"}},
        "figures": ("abs_rel", "rmse", "delta1"),
    },
    "keypoints": {
        "keys": {"teacher": "unet8", "student": "unet4", "epochs": 30, "lr": 0.01},
        "teacher_epochs": 40,
        "ways": {"logit_mse": {"method": "logit_mse"}, "fpd": {"method": "fpd"}},
        "figures": ("pck10", "pck05", "oks"),
    },
    "flow": {
        "keys": {"teacher": "unet8", "student": "unet2", "epochs": 15, "lr": 0.01},
        "teacher_epochs": 30,
        "ways": {"output_l1": {"method": "output_l1"}},
        "figures": ("epe", "fl_all"),
    },
}


def eurosat(source: Path, folder: Path) -> dict[str, Any]:
    """Return the keys of images of half the size."""
    return {"data": f"images:{source / 'eurosat'}", "degrade": {"scale": 2}}


def nuclei(source: Path, folder: Path) -> dict[str, Any]:
    """Write the images, 64 pixels high, and a Gaussian that adds up to 1 at the middle of each nucleus."""
    folder.mkdir(parents=True, exist_ok=True)
    images, maps, high, wide = [], [], 64, 88
    rows, columns = np.mgrid[:high, :wide]
    for path in sorted((source / "bbbc039-count" / "labels").iterdir()):
        labels = np.asarray(Image.open(path)).astype(np.int64)
        (picture,) = (source / "bbbc039-count" / "images").glob(f"{path.stem}.*")
        raw = np.asarray(Image.open(picture)).astype(np.float64)
        raw = Image.fromarray((255 * raw / max(raw.max(), 1)).astype(np.uint8))
        images.append(np.asarray(raw.resize((wide, high), Image.Resampling.BOX)))
        density = np.zeros((high, wide))
        for number in np.unique(labels[labels > 0]):
            y, x = (place.mean() for place in np.nonzero(labels == number))
            y, x = y * high / labels.shape[0], x * wide / labels.shape[1]
            blob = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 4.5)
            density += blob / blob.sum()
        maps.append(density)
    order = np.random.default_rng(0).permutation(len(images))
    x, y = np.stack(images)[order], np.stack(maps)[order].astype(np.float32)
    cuts = {"train": slice(0, 120), "val": slice(120, 150), "test": slice(150, None)}
    arrays = {f"{name}_{split}": array[cut] for split, cut in cuts.items() for name, array in (("x", x), ("y", y))}
    np.savez(folder / "nuclei.npz", **arrays, kinds=["mass"])
    return {"data": f"npz:{folder / 'nuclei.npz'}"}


def data_of(study: str, source: Path, folder: Path) -> dict[str, Any]:
    """Return the keys of a study's data, which is made unless it is there."""
    if study in ("eurosat", "nuclei"):
        written = folder / "nuclei.npz"
        return {"data": f"npz:{written}"} if written.exists() else globals()[study](source, folder)
    written = folder / "data" / "maps.npz"
    return {"data": f"npz:{written}"} if written.exists() else {
        "data": tiny_tasks.TASKS[study](folder / "data", 300)["data"]
    }  # fmt: skip


def figures_of(folder: Path, role: str) -> list[dict[str, float]]:
    """Return a role's figures by seed."""
    phases = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*/phase.json"))]
    return [phase["figures"] for phase in phases if phase["role"] == role]


def run(study: str, source: Path, out: Path, seeds: int) -> dict[str, tuple[list[dict[str, float]], float | None]]:
    """Train what isn't trained yet; return each model's figures by seed, and its median milliseconds a step."""
    plan = STUDIES[study]
    keys = BASE | plan["keys"] | data_of(study, source, out / study)
    teacher = out / study / "teacher"
    if not (teacher / "result.json").exists():
        alone = {key: value for key, value in keys.items() if key not in ("teacher", "student", "epochs")}
        tutelage.train(keys["teacher"], **alone, epochs=plan["teacher_epochs"], out=str(teacher))
    results = {"teacher": (figures_of(teacher, "student") or figures_of(teacher, "baseline"), None)}
    for number, (way, options) in enumerate(plan["ways"].items()):
        folder = out / study / f"way{number}"
        if not (folder / "result.json").exists():
            taught = keys | {"teacher": str(teacher)} | options
            tutelage.distill(**taught, seeds=seeds, baseline=number == 0, out=str(folder))
        spent = json.loads((folder / "result.json").read_text("utf-8"))
        if number == 0:
            results["alone"] = figures_of(folder, "baseline"), spent["baseline"]["step_ms"]
        results[way] = figures_of(folder, "student"), spent["student"]["step_ms"]
    return results


def table(study: str, results: dict[str, tuple[list[dict[str, float]], float | None]]) -> list[str]:
    """Return the lines of a study's table: means with the half-width of their 95 % intervals."""
    names = STUDIES[study]["figures"]
    head = ["model", *names, f"gain over alone, {names[0]}", "verdict", "ms a step"]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * len(names)}---:|---|---:|"]
    if study == "eurosat":
        psnr = results["teacher"][0][0]["input_psnr"]
        lines.append(f"| bicubic | {psnr:.2f} | | | | |")
    alone = [figures[names[0]] for figures in results["alone"][0]]
    for model, (seeds, spent) in results.items():
        cells = [mean_of([figures[name] for figures in seeds]) for name in names]
        gains = ["", ""]
        if model in STUDIES[study]["ways"]:
            differences = [figures[names[0]] - other for figures, other in zip(seeds, alone, strict=True)]
            gains = [mean_of(differences, "+"), verdict(differences, names[0] in HIGHER_IS_BETTER)]
        lines.append(f"| {' | '.join([model, *cells, *gains, f'{spent:.0f}' if spent else ''])} |")
    return lines


def mean_of(values: list[float], sign: str = "") -> str:
    """Write a mean and the half-width of its interval."""
    bounds = confidence_interval(values)
    half = f" ± {(bounds[1] - bounds[0]) / 2:.2g}" if bounds else ""
    return f"{fmean(values):{sign}.4g}{half}"


def main() -> None:
    """Run the studies that were chosen, and write the tables of all that are finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/maps"))
    parser.add_argument("--study", choices=[*STUDIES], action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "maps.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["# Maps", "", "Written by `python bench/maps.py DATA`; test split, 95 % intervals over seeds.", ""]
    for study in arguments.study or STUDIES:
        results = run(study, arguments.source, arguments.out, arguments.seeds)
        keys = BASE | STUDIES[study]["keys"]
        described = ", ".join(f"{key}={value}" for key, value in keys.items())
        epochs = STUDIES[study]["teacher_epochs"]
        lines += [f"## {study}", "", f"{described}; the teacher {epochs} epochs; {arguments.seeds} seeds.", ""]
        lines += [*table(study, results), ""]
        arguments.results.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
