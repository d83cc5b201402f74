"""Measure four students that share batches and a live teacher, relative to four separate runs: steps with the loader.

    python bench/several.py

A resnet56 teacher with four resnet8, and with four resnet20, by KD, DKD, DIST and NKD; 3×32×32 pixels, batch 64,
channels_last. Sharing saves three of four teacher forwards, a smaller part of the total for larger students.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping

import torch
from cache import data
from measure import conclude, least_of_instances, show
from step import CLASSES, SGD
from torch import nn

from tutelage import models
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.settings import TrainerSettings
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.frozen import Frozen
from tutelage.training.trainer import Trainer

METHODS = ("kd", "dkd", "dist", "nkd")


def stepper(teacher: nn.Module, students: Mapping[str, nn.Module]) -> Callable[[], None]:
    """Return the trainer's step, including its loader, for students by method."""
    noise, task = data(), Classification()
    trainer = Trainer(TrainerSettings(device="cpu", lr=SGD["lr"], schedule="constant"), task)
    players = {
        name: Player(copy.deepcopy(s), Terms.from_method(name, task.task_loss()), task) for name, s in students.items()
    }
    scheme = Offline(players, Frozen(copy.deepcopy(teacher), task))
    state = trainer.prepare(scheme, noise)

    def batches() -> Iterator[Batch]:
        epoch = 0
        while True:
            yield from state.batches.train(epoch)
            epoch += 1

    stream = batches()
    return lambda: trainer._batch(state, next(stream))


def main() -> None:
    """Time shared and separate training for small and larger students."""
    torch.manual_seed(0)
    figures = []
    for name, bound in (("resnet8", 0.5), ("resnet20", 1.0)):
        teacher, student = (models.create(n, classes=CLASSES, channels=3).model for n in ("resnet56", name))

        def make(variant: str, teacher: nn.Module = teacher, student: nn.Module = student) -> Callable[[], object]:
            if variant == "together":
                return stepper(teacher, dict.fromkeys(METHODS, student))
            separate = [stepper(teacher, {method: student}) for method in METHODS]
            return lambda: [step() for step in separate]

        seconds = least_of_instances(make, ("apart", "together"), rounds=4, instances=3)
        show(seconds, "apart")
        figures.append((f"4 × {name} together/apart", seconds["together"] / seconds["apart"], bound))
    conclude(figures)


if __name__ == "__main__":
    main()
