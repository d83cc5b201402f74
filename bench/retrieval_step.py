"""Measure a step of task=embedding against the same lines by hand with bare pytorch-metric-learning.

    python bench/retrieval_step.py

resnet20, batch 64 of 32 × 32, 128 numbers a vector, ten classes; one loss of pairs and one of learned vectors.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from typing import Any

import torch
from measure import conclude, least_of_instances, show
from pytorch_metric_learning import losses
from step import SGD, by_trainer, difference
from torch import nn

from tutelage import models
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.tasks.embedding import Embedding

BATCH, DIM, CLASSES, BOUND = 64, 128, 10, 1.05
LIBRARY: dict[str, Callable[[], nn.Module]] = {
    "multi_similarity": losses.MultiSimilarityLoss,
    "proxy_anchor": lambda: losses.ProxyAnchorLoss(num_classes=CLASSES, embedding_size=DIM),
}


def by_hand(kind: str, student: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], object]:
    """Return the step in plain PyTorch."""
    loss_of = LIBRARY[kind]()
    optimiser = torch.optim.SGD([*student.train().parameters(), *loss_of.parameters()], **SGD)

    def step() -> None:
        loss = loss_of(student(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def ours(kind: str, student: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], object]:
    """Return the Trainer's step."""
    task = Embedding(DIM, kind, {}, CLASSES)
    scheme = Offline(Player(student, Terms.from_method(None, task.task_loss()), task), None)
    return by_trainer(scheme, x, y, BATCH, channels_last=False)


def ratio(kind: str, rounds: int, instances: int) -> tuple[float, float]:
    """Return our step's time in multiples of the one by hand, and the largest difference of a weight after one step."""
    torch.manual_seed(0)
    student = models.create("resnet20", classes=DIM, channels=3).model
    x, y = torch.randn(BATCH, 3, 32, 32), torch.arange(BATCH) % CLASSES
    makers: dict[str, Any] = {"by hand": by_hand, "ours": ours}
    students = {name: copy.deepcopy(student) for name in makers}
    for name, make in makers.items():
        torch.manual_seed(1)
        make(kind, students[name], x, y)()
    seconds = least_of_instances(
        lambda name: makers[name](kind, copy.deepcopy(student), x, y), makers, rounds, instances
    )
    print(kind)
    show(seconds, "by hand")
    return seconds["ours"] / seconds["by hand"], difference(students["by hand"], students["ours"])


def main() -> None:
    """Time the steps, interleaved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--instances", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures = []
    for kind in LIBRARY:
        time, deviation = ratio(kind, args.rounds, args.instances)
        figures.append((f"{kind}, ours/by hand", time, BOUND))
        if kind == "multi_similarity":  # the learned vectors of the other are drawn at another time
            figures.append((f"{kind}, difference", deviation, 1e-5))
    conclude(figures)


if __name__ == "__main__":
    main()
