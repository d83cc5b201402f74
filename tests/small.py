"""The smallest things that train: data, networks, settings and whole schemes for the tests of the core."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from tutelage import data as datasets
from tutelage import models
from tutelage.data.data_module import DataModule
from tutelage.data.splits import InMemorySplit
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.settings import TrainerSettings
from tutelage.tasks.base import Task
from tutelage.tasks.classification import Classification
from tutelage.tasks.segmentation import Segmentation
from tutelage.teachers.frozen import Frozen
from tutelage.training.callbacks import Callback
from tutelage.training.events import Event
from tutelage.training.trainer import Trainer


def digits(limit: int = 64, **options) -> DataModule:
    return datasets.load("digits", limit=limit, augment="none", **options)


def scenes(count: int = 16, side: int = 8, labelled: float = 0.7) -> DataModule:
    """Random images with a class for each pixel; about 1 - labelled of them unlabelled, unevenly over the samples."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 3, side, side, generator=generator)
    targets = (images.mean(1) * 3).long().clamp(max=2)
    share = torch.linspace(2 * labelled - 1, 1, count)[:, None, None]
    targets[torch.rand(count, side, side, generator=generator) > share] = 255
    part = InMemorySplit(images, targets)
    return DataModule(
        "scenes",
        "segmentation",
        ("a", "b", "c"),
        3,
        (side, side),
        (0.5,) * 3,
        (0.3,) * 3,
        part,
        part,
        part,
        target="mask",
    )


def streets(folder: Path, count: int) -> dict[str, object]:
    """Keys of a run on so many images of noise with masks of three classes, laid in a folder."""
    rng = np.random.default_rng(0)
    for kind, shape, top in (("images", (16, 16, 3), 256), ("masks", (16, 16), 3)):
        (folder / kind).mkdir()
        for i in range(count):
            Image.fromarray(rng.integers(top, size=shape, dtype=np.uint8)).save(folder / kind / f"{i:02d}.png")
    return {"data": f"segmentation:{folder}", "teacher": "seg8", "student": "seg8", "size": 16, "epochs": 1}


class Plain(nn.Module):
    """Convolutions without batch norm: a batch's gradient is the mean of its samples'."""

    def __init__(self, classes: int = 10, channels: int = 1, width: int = 4) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.Tanh())
        self.layer2 = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, padding=1), nn.Tanh())
        self.fc = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))


class Dense(nn.Module):
    """A class for each pixel, without batch norm."""

    def __init__(self, classes: int = 3, width: int = 4) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.Tanh())
        self.layer2 = nn.Sequential(nn.Conv2d(width, width, 3, 2, padding=1), nn.Tanh())
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.layer2(self.layer1(x)))


def net(name: str = "cnn2", seed: int = 0, data: DataModule | None = None) -> nn.Module:
    torch.manual_seed(seed)
    classes, channels, task = (
        (10, 1, "classification") if data is None else (len(data.classes), data.channels, data.task)
    )
    return models.create(name, classes=classes, channels=channels, task=task).model


def task_of(data: DataModule) -> Task:
    return Segmentation() if data.task == "segmentation" else Classification()


def settings(**changes) -> TrainerSettings:
    usual = {"epochs": 1, "batch_size": 16, "lr": 0.05, "device": "cpu", "log_every": 1000, "channels_last": False}
    usual |= {"lr_warmup": 0, "clip": None}  # as a loop by hand
    return TrainerSettings(**(usual | changes))


def offline(data: DataModule, method=None, student=None, teacher=None, *, truth: bool = True) -> Offline:
    """A student taught by a frozen teacher; method None is KD."""
    task = task_of(data)
    small, large = ("seg4", "seg8") if data.task == "segmentation" else ("cnn2", "cnn4")
    teacher = Frozen(teacher or net(large, 1, data), task)
    terms = Terms.from_method(KD() if method is None else method, task.task_loss() if truth else None)
    return Offline(Player(student or net(small, 2, data), terms, task), teacher)


def fit(scheme, data: DataModule, folder: Path | None = None, callbacks=(), fabric=None, **changes) -> nn.Module:
    """Train; the first student."""
    torch.manual_seed(3)
    trainer = Trainer(settings(**changes), task_of(data), folder, callbacks, fabric)
    return next(iter(trainer.fit(scheme, data).values()))


def digest(*modules: nn.Module) -> str:
    """The sha256 of every weight and buffer."""
    found = hashlib.sha256()
    for module in modules:
        for name, tensor in module.state_dict().items():
            found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


class Rows(Callback):
    """A callback that keeps the rows of all events."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def on_event(self, event: Event) -> None:
        self.rows.append(event.row())

    def of(self, kind: str) -> list[dict]:
        return [row for row in self.rows if row["kind"] == kind]


class Crash(Exception):
    """Raised by `CrashAt`."""


class CrashAt(Callback):
    """Fails at a training's event of this number, counted over the whole run."""

    def __init__(self, number: int) -> None:
        self.number, self.count = number, 0

    def on_event(self, event: Event) -> None:
        self.count += 1
        if self.count > self.number:
            raise Crash


def communities(path: Path, nodes: int = 90, classes: int = 3, **changes: np.ndarray) -> str:
    """Write a graph whose nodes are mostly joined within their class, with noisy features; return the data's name."""
    random = np.random.default_rng(0)
    y = np.arange(nodes) % classes
    x = np.eye(classes)[y] + random.normal(size=(nodes, classes))
    ends = random.integers(nodes, size=(nodes * 12, 2))
    ends = ends[(y[ends[:, 0]] == y[ends[:, 1]]) | (random.random(len(ends)) < 0.05)]
    ends = ends[ends[:, 0] < ends[:, 1]]
    rows = np.split(np.arange(nodes), [nodes // 3, nodes // 2])
    arrays = {"x": x.astype(np.float32), "edges": np.unique(ends, axis=0), "y": y}
    arrays |= dict(zip(("train", "val", "test"), rows, strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: value for name, value in (arrays | changes).items() if value is not None})
    return f"graph:{path}"


def rings_and_stars(path: Path, graphs: int = 80, **changes: np.ndarray) -> str:
    """Write rings and stars of 4 to 8 nodes, whose only feature is noise; return the data's name."""
    random = np.random.default_rng(0)
    sizes, y = random.integers(4, 9, graphs), np.arange(graphs) % 2
    edges, first = [], 0
    for size, star in zip(sizes.tolist(), y.tolist(), strict=True):
        edges += [(first, first + k) if star else (first + k, first + (k + 1) % size) for k in range(int(star), size)]
        first += size
    x = 1 + 0.1 * random.normal(size=(first, 2))
    arrays = {"x": x.astype(np.float32), "edges": np.array(edges), "sizes": sizes, "y": y}
    np.savez(path, **{name: value for name, value in (arrays | changes).items() if value is not None})
    return f"graphs:{path}"


class Watched(Dataset):
    """Noise of three classes; a split raises unless the choice is written down."""

    classes = ("a", "b", "c")

    def __init__(self, count: int, choice: Path | None = None) -> None:
        self.x = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(count))
        self.choice, self.reads = choice, 0

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        assert self.choice is None or self.choice.exists(), "test was read before the choice"
        self.reads += 1
        return self.x[number], number % 3
