"""Tiny runs, one of each task, with the data that they need: for checks that have to hold whatever the task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from clicks import clicks
from PIL import Image

Keys = dict[str, Any]


def classification(folder: Path) -> Keys:
    """Return the keys of digits."""
    return {"data": "digits", "student": "cnn4", "teacher": "cnn8", "method": "kd+at"}


def segmentation(folder: Path) -> Keys:
    """Write noise images with masks of three classes."""
    random = np.random.default_rng(0)
    for kind, shape, top in (("images", (16, 16, 3), 256), ("masks", (16, 16), 3)):
        (folder / kind).mkdir(parents=True)
        for number in range(160):
            pixels = random.integers(top, size=shape, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{number:03}.png")
    data = {"data": f"segmentation:{folder}", "size": 16, "batch_size": 16}
    return {"student": "seg4", "teacher": "seg8", "method": "kd+cwd", **data}


def table(folder: Path) -> str:
    """Write a table of two numbers, a town and a price, which the town changes; return its path."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = ["age,rooms,town,price"]
    for age, rooms, town in random.normal(size=(1200, 3)):
        rows.append(f"{age:.4f},{rooms:.4f},{('north', 'south')[int(town > 0)]},{3 * age * rooms + 2 * (town > 0):.4f}")
    (folder / "houses.csv").write_text("\n".join(rows), encoding="utf-8")
    return f"csv:{folder / 'houses.csv'}"


def regression(folder: Path) -> Keys:
    """Return the keys of a network that estimates a price."""
    return {"data": table(folder), "target": "price", "student": "mlp-8", "teacher": "mlp-32", "method": "logit_mse"}


def tables(folder: Path) -> Keys:
    """Return the keys of a decision tree that a network teaches."""
    data = {"data": table(folder), "target": "town"}
    return {"student": "tree:depth=3", "teacher": "mlp-32", "method": "kd", **data}


def multi_label(folder: Path) -> Keys:
    """Write images with bright squares in some of their quarters, the labels; some aren't known."""
    random = np.random.default_rng(0)
    labels, images = random.integers(2, size=(400, 4)), random.integers(60, size=(400, 12, 12, 3), dtype=np.uint8)
    for quarter in range(4):
        top, left = 6 * (quarter // 2), 6 * (quarter % 2)
        images[labels[:, quarter] > 0, top + 1 : top + 5, left + 1 : left + 5] += 150
    labels[random.random((400, 4)) < 0.1] = -1
    folder.mkdir(parents=True)
    np.savez(folder / "quarters.npz", x_train=images, y_train=labels, label_names=["nw", "ne", "sw", "se"])
    return {"data": f"npz:{folder / 'quarters.npz'}", "student": "cnn4", "teacher": "cnn8", "method": "bkd"}


def embedding(folder: Path) -> Keys:
    """Return the keys of digits that training hasn't seen."""
    task = {"task": {"name": "embedding", "dim": 16}, "split": "classes"}
    return {"data": "digits", "student": "cnn4", "teacher": "cnn8", "method": "rkd", **task}


def backbone(folder: Path) -> Keys:
    """Write images without labels, and a teacher's weights."""
    random = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    for number in range(160):
        pixels = random.integers(120, size=(16, 16, 3)) + 100 * (number % 2) * np.array([1, 0, 0])
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{number:03}.png")
    torch.manual_seed(1)
    torch.save(timm.create_model("test_vit", num_classes=7).state_dict(), folder / "teacher.pth")
    networks = {"student": "timm:test_resnet", "teacher": "timm:test_vit", "task": "embedding"}
    keys = networks | {"data": f"images:{folder / 'images'}", "size": 32, "batch_size": 16}
    return keys | {"teacher_weights": str(folder / "teacher.pth")}


def ranking(folder: Path) -> Keys:
    """Write queries of six documents, graded by one of two features."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name, queries in (("train", range(150)), ("vali", range(150, 170)), ("test", range(170, 200))):
        lines = [
            f"{grade} qid:{query} 1:{grade + random.normal():.4f} 2:{random.normal():.4f}\n"
            for query in queries
            for grade in random.integers(4, size=6)
        ]
        (folder / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
    return {"data": f"letor:{folder}", "student": "mlp-4", "teacher": "mlp-32", "method": "listnet"}


def recommendation(folder: Path) -> Keys:
    """Write generated clicks."""
    folder.mkdir(parents=True)
    rows = [f"{user},{item},{time}" for user, item, time in clicks(60, 50, 8, 0)]
    (folder / "clicks.csv").write_text("\n".join(["user,item,time", *rows]), encoding="utf-8")
    data = {"data": f"interactions:{folder / 'clicks.csv'}", "batch_size": 512}
    return {"student": "mf4-60x50", "teacher": "mf16-60x50", "method": "rrd", **data}


def streams(folder: Path) -> Keys:
    """Return the keys of digits of which few are labelled."""
    data = {"data": "digits", "streams": {"unlabelled": {"source": "digits"}}, "labels_per_class": 4}
    return {"student": "cnn4", "teacher": "cnn8", "method": "kd", **data}


def denoising(folder: Path) -> Keys:
    """Return the keys of a network that denoises digits."""
    task = {"name": "denoising", "steps": 2, "samples": 50, "judge": "cnn2"}
    return {"data": "digits", "task": task, "student": "unet2", "teacher": "unet4", "method": "logit_mse+at"}


TASKS: dict[str, Callable[[Path], Keys]] = {
    make.__name__: make
    for make in (
        classification, segmentation, regression, tables, multi_label, embedding, backbone, ranking, recommendation,
        streams, denoising,
    )
}  # fmt: skip
"""Functions that write a run's data into a new folder, and return its keys."""
