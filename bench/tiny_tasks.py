"""Tiny runs, one of each task, with the data that they need: for checks that have to hold whatever the task."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
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


def detection(folder: Path) -> Keys:
    """Write noise images with a bright box each, square or flat, in COCO's format."""
    random = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    images, boxes = [], []
    for number in range(60):
        pixels, label = random.integers(60, size=(48, 48, 3), dtype=np.uint8), number % 2
        (x, y), (width, height) = random.integers(24, size=2).tolist(), ((16, 16), (22, 8))[label]
        pixels[y : y + height, x : x + width] = 220
        Image.fromarray(pixels).save(folder / "images" / f"{number:03}.png")
        split = ("train", "train", "train", "val", "test")[number % 5]
        entry = {"id": number, "file_name": f"images/{number:03}.png", "height": 48, "width": 48, "split": split}
        images.append(entry)
        box = {"id": number, "image_id": number, "category_id": label, "bbox": [x, y, width, height], "iscrowd": 0}
        boxes.append(box)
    categories = [{"id": k, "name": name} for k, name in enumerate(("square", "flat"))]
    content = {"images": images, "annotations": boxes, "categories": categories}
    (folder / "boxes.json").write_text(json.dumps(content), encoding="utf-8")
    data = {"data": f"coco:{folder / 'boxes.json'}", "batch_size": 9, "optimizer": "adamw", "lr": 2e-3}
    return {"student": "fcos-resnet10-32", "teacher": "fcos-resnet10-64", "method": "pkd", **data}


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


def restoration(folder: Path) -> Keys:
    """Return the keys of digits of half the size."""
    networks = {"student": "edsr2x4-x2", "teacher": "edsr4x16-x2", "method": "output_l1"}
    return networks | {"data": "digits", "degrade": {"scale": 2, "noise": 5}, "lr": 0.003, "optimizer": "adamw"}


def clips(folder: Path) -> Keys:
    """Write clips of noise with a bright bar, which moves down or up."""
    random = np.random.default_rng(0)
    for number in range(100):
        clip = folder / ("down", "up")[number % 2] / f"{number:03}"
        clip.mkdir(parents=True)
        for time, place in enumerate((range(2, 14, 2), range(12, 0, -2))[number % 2]):
            frame = random.integers(120, size=(16, 16), dtype=np.uint8)
            frame[place - 1 : place + 1] += 120
            Image.fromarray(frame).save(clip / f"{time}.png")
    networks = {"student": "frames:cnn2", "teacher": "r3d10-4", "method": "kd+fitnet"}
    return networks | {"data": f"clips:{folder}", "reading": {"frames": 4}, "batch_size": 16}


def points(folder: Path) -> Keys:
    """Write the surfaces of balls and cubes, turned at random, as clouds of points."""
    random = np.random.default_rng(0)
    for number in range(160):
        cloud = random.normal(size=(60 + number, 3))
        cloud /= np.linalg.norm(cloud, axis=1, keepdims=True) if number % 2 else np.abs(cloud).max(1, keepdims=True)
        path = folder / ("cube", "ball")[number % 2] / f"{number:03}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, cloud)
    networks = {"student": "pointnet-2", "teacher": "pointnet-8", "method": "kd+pkt"}
    full_batches = {"limit": 112, "batch_size": 16}  # the largest point amplifies the rounding of a smaller one
    return networks | full_batches | {"data": f"points:{folder}", "reading": {"points": 48}}


def shapes(count: int, side: int = 16) -> tuple[Any, Any, Any]:
    """Return images of bright discs, the nearer the larger and brighter, with their distances, centres and masks."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    distance = random.uniform(1, 3, count)
    centre = random.uniform(5, side - 6, (count, 2))
    square = (columns - centre[:, :1, None]) ** 2 + (rows - centre[:, 1:, None]) ** 2
    inside = square < (9 / distance[:, None, None] ** 2) + 2
    image = 40 + 200 * inside / distance[:, None, None] + random.normal(0, 3, (count, side, side))
    return image.clip(0, 255).astype(np.uint8), np.where(inside, distance[:, None, None], 4.0), centre


def save_maps(folder: Path, **arrays: Any) -> str:
    """Write the arrays, and return the data's name."""
    folder.mkdir(parents=True)
    np.savez(folder / "maps.npz", **arrays)
    return f"npz:{folder / 'maps.npz'}"


MAPS: Keys = {
    "student": "unet2",
    "teacher": "unet6",
    "method": "output_l1",
    "batch_size": 16,
    "lr": 0.01,
    "optimizer": "adamw",
}


def depth(folder: Path, count: int = 240) -> Keys:
    """Write images of discs with the distance of each pixel, some of which aren't known."""
    images, distances, _ = shapes(count)
    distances[np.random.default_rng(1).random(distances.shape) < 0.1] = np.nan
    return MAPS | {"data": save_maps(folder, x_train=images, y_train=distances.astype(np.float32))}


def keypoints(folder: Path, count: int = 240) -> Keys:
    """Write images of discs with their centres, and points on their left and right, of which some aren't visible."""
    images, _, centres = shapes(count)
    points = np.stack([centres, centres + np.array([-2, 0]), centres + np.array([2, 0])], 1)
    points[np.random.default_rng(1).random(points.shape[:2]) < 0.1] = np.nan
    arrays = {"x_train": images, "y_train": points, "point_names": ["centre", "left", "right"]}
    return MAPS | {"data": save_maps(folder, **arrays)}


def density(folder: Path, count: int = 240) -> Keys:
    """Write images of up to five bright dots, with a blurred one for each."""
    random = np.random.default_rng(0)
    y, counts = np.zeros((count, 16, 16), np.float32), random.integers(1, 6, count)
    for number, dots in enumerate(counts):
        for top, left in random.integers(1, 14, (dots, 2)):
            y[number, top : top + 3, left : left + 3] += 1 / 9
    images = (40 + 1200 * y + random.normal(0, 5, y.shape)).clip(0, 255).astype(np.uint8)
    return MAPS | {"data": save_maps(folder, x_train=images, y_train=y[:, None], kinds=["mass"])}


def flow(folder: Path, count: int = 240) -> Keys:
    """Write pairs of images that are shifted by up to two pixels."""
    random = np.random.default_rng(0)
    canvas, moves = random.integers(0, 256, (count, 24, 24), dtype=np.uint8), random.integers(-2, 3, (count, 2))
    first = canvas[:, 4:20, 4:20]
    second = np.stack([x[4 - v : 20 - v, 4 - u : 20 - u] for x, (u, v) in zip(canvas, moves, strict=True)])
    y = np.broadcast_to(moves[:, :, None, None], (count, 2, 16, 16)).astype(np.float32)
    arrays = {"x_train": np.stack([first, second], 1), "y_train": y, "modality": "image", "kinds": ["x", "y"]}
    return MAPS | {"data": save_maps(folder, **arrays)}


def streams(folder: Path) -> Keys:
    """Return the keys of digits of which few are labelled."""
    data = {"data": "digits", "streams": {"unlabelled": {"source": "digits"}}, "labels_per_class": 4}
    return {"student": "cnn4", "teacher": "cnn8", "method": "kd", **data}


def sound(folder: Path) -> Keys:
    """Write noisy tones of four pitches."""
    random, seconds = np.random.default_rng(0), np.arange(800) / 2000
    folder.mkdir(parents=True)
    for number in range(160):
        tone = 0.3 * np.sin(2 * np.pi * (100 + 150 * (number % 4)) * seconds) + 0.1 * random.normal(size=800)
        soundfile.write(folder / f"{number % 4}_{number}.wav", tone, 2000)
    data = {"data": f"sound:{folder}", "reading": {"rate": 2000, "pattern": "{label}_{take}"}}
    return {"student": "conv1d-2-4", "teacher": "mel:2000:8:cnn8", "method": "kd+pkt", **data}


def forecasting(folder: Path) -> Keys:
    """Write an hourly load with a daily season."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    loads = [f"{10 + 3 * np.sin(hour * np.pi / 12) + random.normal():.4f}" for hour in range(700)]
    (folder / "load.csv").write_text("\n".join(["load", *loads]), encoding="utf-8")
    data = {"data": f"windows:{folder / 'load.csv'}", "target": "load", "reading": {"window": 24, "horizon": 6}}
    return {"student": "tcn-2-4", "teacher": "gru-1-16", "method": "logit_mse", **data}


def nodes(folder: Path) -> Keys:
    """Write a graph of three communities whose nodes have noisy features; a third of the nodes is labelled."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    y, ends = np.arange(240) % 3, random.integers(240, size=(3000, 2))
    ends = ends[(y[ends[:, 0]] == y[ends[:, 1]]) | (random.random(3000) < 0.05)]
    rows = dict(zip(("train", "val", "test"), np.split(np.arange(240), [96, 120]), strict=True))
    x = np.eye(3)[y] + random.normal(size=(240, 3))
    np.savez(folder / "graph.npz", x=x.astype(np.float32), edges=ends, y=y, **rows)
    return {"data": f"graph:{folder / 'graph.npz'}", "student": "node-mlp-8", "teacher": "gcn-2-16", "method": "kd+rkd"}


def graphs(folder: Path) -> Keys:
    """Write rings and stars of six nodes."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    forms = [[(k, (k + 1) % 6) for k in range(6)], [(0, k) for k in range(1, 6)]]
    edges = [(6 * graph + a, 6 * graph + b) for graph in range(160) for a, b in forms[graph % 2]]
    x, y = 1 + 0.1 * random.normal(size=(960, 2)), np.arange(160) % 2
    np.savez(folder / "graphs.npz", x=x.astype(np.float32), edges=np.array(edges), sizes=np.full(160, 6), y=y)
    networks = {"student": "gcn-2-8-pool", "teacher": "gin-2-16-pool"}
    return {"data": f"graphs:{folder / 'graphs.npz'}", "method": "kd+rkd", **networks}


def denoising(folder: Path) -> Keys:
    """Return the keys of a network that denoises digits."""
    task = {"name": "denoising", "steps": 2, "samples": 50, "judge": "cnn2"}
    return {
        "data": "digits",
        "task": task,
        "student": "timed-unet2",
        "teacher": "timed-unet4",
        "method": "logit_mse+at",
    }


def generation(folder: Path) -> Keys:
    """Return the keys of a generator of digits that a discriminator judges."""
    task = {"name": "generation", "latents": 8, "samples": 50, "judge": "cnn2"}
    networks = {"student": "dcgan-2-z8", "teacher": "dcgan-4-z8"}
    return networks | {"data": "digits", "task": task, "method": "output_l1", "scheme": "gan", "lr": 0.002}


def translation(folder: Path) -> Keys:
    """Return the keys of noisy digits made clean, which a discriminator judges."""
    networks = {"student": "edsr1x2", "teacher": "edsr2x4", "method": "output_l1", "scheme": "conditional_gan"}
    return networks | {"data": "digits", "degrade": {"noise": 40}, "lr": 0.003}


TASKS: dict[str, Callable[[Path], Keys]] = {
    make.__name__: make
    for make in (
        classification, segmentation, detection, regression, tables, multi_label, embedding, backbone, ranking,
        recommendation, restoration, depth, keypoints, density, flow, streams, sound, forecasting, nodes, graphs,
        denoising, generation, translation, clips, points,
    )
}  # fmt: skip
"""Functions that write a run's data into a new folder, and return its keys."""
