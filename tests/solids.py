"""Small point clouds, for the tests of points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SHAPES = ("ball", "box", "stick")


def cloud(number: int, points: int = 60) -> Any:
    """The surface of a ball, a box or a stick, by the number's class, (N, 3), turned about the last axis."""
    rng = np.random.default_rng(number)
    x = rng.normal(size=(points, 3))
    if number % 3 == 0:
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    elif number % 3 == 1:
        x /= np.abs(x).max(1, keepdims=True)
    else:
        x *= [0.1, 0.1, 1]
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return ((x + 0.02 * rng.normal(size=x.shape)) @ turn.T * rng.uniform(0.5, 3) + rng.uniform(-2, 2, 3)).astype("f4")


def folder_of_clouds(root: Path, count: int = 60, split: bool = False) -> Path:
    """Write clouds of three classes, of different numbers of points, in folders by class."""
    for number in range(count):
        part = ("train/", "test/")[number % 5 == 0] if split else ""
        path = root / f"{part}{SHAPES[number % 3]}/{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, cloud(number, 40 + number % 30))
    return root


def write_off(path: Path, points: Any, faces: int = 1, counted: int | None = None) -> Path:
    """Write an OFF file; counted: the number of vertices that it states."""
    rows = [" ".join(map(str, row)) for row in points.tolist()] + ["3 0 1 2"] * faces
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["OFF", f"{len(points) if counted is None else counted} {faces} 0", *rows]))
    return path


def write_ply(path: Path, points: Any, form: str = "ascii", cut: int = 0) -> Path:
    """Write a PLY file with a feature before the coordinates; cut: the bytes that are missing at its end."""
    head = ["ply", f"format {form} 1.0", "comment made here", f"element vertex {len(points)}", "property uchar red",
            *(f"property float {axis}" for axis in "xyz"), "element face 1", "property list uchar int vertex_indices",
            "end_header"]  # fmt: skip
    kind = np.dtype([("red", "u1"), *((axis, ("<" if "little" in form else ">") + "f4") for axis in "xyz")])
    rows = np.zeros(len(points), kind)
    rows["red"] = np.arange(len(points)) % 256
    for axis, values in zip("xyz", points.T, strict=True):
        rows[axis] = values
    text = "\n".join(" ".join(map(str, row)) for row in rows.tolist()) + "\n"
    data = text.encode() if form == "ascii" else rows.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = ("\n".join(head) + "\n").encode() + data
    path.write_bytes(whole[: len(whole) - cut] if cut else whole + (b"3 0 1 2\n" if form == "ascii" else b"\3" * 13))
    return path
