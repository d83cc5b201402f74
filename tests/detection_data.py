"""Tiny images of one to three bright squares and bars, annotated in COCO's, VOC's and YOLO's format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("square", "bar")
SIDE = 48


def draw(number: int) -> tuple[np.ndarray, list[tuple[int, tuple[int, int, int, int]]]]:
    """An image (SIDE, SIDE, 3) and its objects: class, and x, y, width, height."""
    random = np.random.default_rng(number)
    image = random.integers(0, 40, (SIDE, SIDE, 3), dtype=np.uint8)
    objects = []
    for k in range(1 + number % 3):
        width, height = (12, 12) if (number + k) % 2 == 0 else (6, 18)
        x, y = 16 * k, int(random.integers(0, SIDE - height))
        image[y : y + height, x : x + width] = (220, 180, 60)
        objects.append(((number + k) % 2, (x, y, width, height)))
    return image, objects


def write_images(folder: Path, numbers: range) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:03}.png" for number in numbers]
    for number, name in zip(numbers, names, strict=True):
        Image.fromarray(draw(number)[0]).save(folder / name)
    return names


def coco(root: Path, count: int = 30) -> Path:
    """Write images/ and annotations.json, with splits; return the latter."""
    names = write_images(root / "images", range(count))
    splits = ["test" if n % 5 == 4 else "val" if n % 5 == 3 else "train" for n in range(count)]
    images = [
        {"id": n, "file_name": f"images/{name}", "height": SIDE, "width": SIDE, "split": split}
        for n, (name, split) in enumerate(zip(names, splits, strict=True))
    ]
    annotations = [
        {"id": 100 * n + k, "image_id": n, "category_id": 7 + label, "bbox": list(box), "iscrowd": 0}
        for n in range(count)
        for k, (label, box) in enumerate(draw(n)[1])
    ]
    categories = [{"id": 7 + k, "name": name} for k, name in enumerate(CLASSES)]
    file = root / "annotations.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file


def yolo(root: Path, count: int = 10) -> Path:
    """Write images/train, labels/train and data.yaml; return the folder."""
    for n, name in enumerate(write_images(root / "images" / "train", range(count))):
        lines = [
            f"{label} {(x + w / 2) / SIDE} {(y + h / 2) / SIDE} {w / SIDE} {h / SIDE}"
            for label, (x, y, w, h) in draw(n)[1]
        ]
        file = root / "labels" / "train" / name.replace(".png", ".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines))
    (root / "data.yaml").write_text("names: [square, bar]\n")
    return root


def voc(root: Path, count: int = 10) -> Path:
    """Write JPEGImages/ (of .png) and Annotations/; return the folder."""
    (root / "Annotations").mkdir(parents=True)
    for n, name in enumerate(write_images(root / "JPEGImages", range(count))):
        objects = "".join(
            f"<object><name>{CLASSES[label]}</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax>"
            f"<ymax>{y + h}</ymax></bndbox></object>"
            for label, (x, y, w, h) in draw(n)[1]
        )
        size = f"<size><width>{SIDE}</width><height>{SIDE}</height></size>"
        text = f"<annotation><filename>{name}</filename>{size}{objects}</annotation>"
        (root / "Annotations" / name.replace(".png", ".xml")).write_text(text)
    return root
