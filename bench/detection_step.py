"""Compare the plain training of a detector with a loop of torchvision's own, on the same images.

    python bench/detection_step.py

FCOS on a residual network; images of one size, batch 8, SGD. `losses` is the largest relative difference of a loss from
torchvision's own forward in ten steps.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import torch
from measure import conclude, least_of_instances, show
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from tutelage.data.data_module import DataModule
from tutelage.data.splits import Sample, Split, ViewSeed
from tutelage.models import create
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.settings import TrainerSettings
from tutelage.structures import Objects
from tutelage.tasks.detection import Detection
from tutelage.training.trainer import Trainer

BATCH, SIZE, CLASSES = 8, (96, 128), 3
SGD: dict[str, Any] = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
Step = Callable[[], dict[str, float]]


class Fixed(Split):
    """A batch of images with objects."""

    def __init__(self, images: Tensor, objects: Objects) -> None:
        self.images, self.objects = images, objects

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Tensor) -> Self:
        return type(self)(self.images[rows], [self.objects[row] for row in rows.tolist()])

    def read(self, batches: Sequence[Tensor], augmentation: ViewSeed, workers: int = 0) -> Iterator[Sample]:
        for rows in batches:
            yield self.images[rows], [self.objects[row] for row in rows.tolist()]

    def fingerprint(self) -> str:
        return "fixed"


def by_hand(detector: nn.Module, images: Tensor, objects: Objects) -> Step:
    """Return the step in plain PyTorch, as torchvision's own references have it, without resizing or normalising."""
    detector.transform = GeneralizedRCNNTransform(
        min(SIZE), max(SIZE), [0.0] * 3, [1.0] * 3, size_divisible=1, fixed_size=(SIZE[1], SIZE[0])
    )
    optimiser = torch.optim.SGD(detector.parameters(), **SGD)
    detector.train()

    def step() -> dict[str, float]:
        losses = detector(list(images), objects)
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimiser.step()
        return {name: value.item() for name, value in losses.items()}

    return step


def by_trainer(model: nn.Module, images: Tensor, objects: Objects) -> Step:
    """Return the Trainer's step."""
    split = Fixed(images, objects)
    classes, three = tuple(map(str, range(CLASSES))), ((0.0,) * 3, (1.0,) * 3)
    data = DataModule("random", "detection", classes, 3, SIZE, *three, split, split, split, target="objects")
    task = Detection(CLASSES)
    player = Player(model, Terms.from_method(None, task.task_loss()), task)
    plain: dict[str, Any] = {"schedule": "constant", "lr_warmup": 0, "clip": None, "weight_decay": SGD["weight_decay"]}
    trainer = Trainer(TrainerSettings(device="cpu", lr=SGD["lr"], batch_size=BATCH, channels_last=False, **plain), task)
    state = trainer.prepare(Offline(player), data)
    batch = next(iter(data.batches("train", BATCH, train=False)))  # in the order of the other loop

    def step() -> dict[str, float]:
        trainer._batch(state, batch)
        state.progress.step += 1
        return {name.rpartition("/")[2]: float(x) for name, x in state.pending_losses[-1].items()}

    return step


def main() -> None:
    """Time both, interleaved, and compare their losses."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = create("fcos-resnet18-64", classes=CLASSES, task="detection").model
    images, objects = torch.randn(BATCH, 3, *SIZE), []
    for _ in range(BATCH):
        corners = torch.rand(6, 2) * torch.tensor([80.0, 60.0])
        boxes = torch.cat([corners, corners + 10 + 25 * torch.rand(6, 2)], 1)
        objects.append({"boxes": boxes, "labels": torch.randint(CLASSES, (6,))})

    def make(name: str) -> Step:
        own = copy.deepcopy(model)
        return by_hand(own.detector, images, objects) if name == "torchvision" else by_trainer(own, images, objects)

    both = {name: make(name) for name in ("torchvision", "ours")}
    apart = 0.0
    for _ in range(10):
        bare, ours = both["torchvision"](), both["ours"]()
        apart = max(apart, *(abs(ours[name] - value) / abs(value) for name, value in bare.items()))
    seconds = least_of_instances(make, list(both), rounds=4, instances=2)
    show(seconds, "torchvision")
    conclude([("ours/torchvision", seconds["ours"] / seconds["torchvision"], 1.05), ("losses", apart, 1e-6)])


if __name__ == "__main__":
    main()
