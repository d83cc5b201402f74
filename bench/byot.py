"""BYOT's step on resnet20 against a hand-written loop with the same heads.

    python bench/byot.py

CIFAR-size images, batch 64, SGD with Nesterov momentum; both make the same step: `difference` is the largest difference
of a weight after the first one.
"""

from __future__ import annotations

import argparse
import copy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from measure import conclude, least_of_instances, show
from step import BATCH, CLASSES, SGD, Step, by_trainer
from torch import Tensor, nn

from tutelage import models
from tutelage.objective.terms import Terms
from tutelage.recipes import load
from tutelage.schemes.multi_exit import MultiExit, MultiExitPlayer
from tutelage.tasks.classification import Classification

T, ALPHA, HINT = 3.0, 0.1, 1e-6


def ours(student: nn.Module, x: Tensor, y: Tensor, channels_last: bool = False) -> tuple[Step, MultiExitPlayer]:
    """The Trainer's step on a batch as its data hands it over, and its player."""
    player = MultiExitPlayer(student, Terms.from_method(load("byot")["method"]), Classification())
    torch.manual_seed(1)
    return by_trainer(MultiExit(player), x, y, channels_last=channels_last), player


def unwrap(student: Any, heads: nn.ModuleList, x: Tensor, y: Tensor) -> Step:
    """The lines that one writes without a library; the student is a resnet of three stages."""
    optimiser = torch.optim.SGD([*student.parameters(), *heads.parameters()], **SGD)
    kept: dict[str, Tensor] = {}
    for name in ("layer1", "layer2", "layer3"):
        getattr(student, name).register_forward_hook(lambda m, a, out, name=name: kept.update({name: out}))
    student.train()

    def step() -> None:
        z = student(x)
        deep, told = kept["layer3"].detach(), F.softmax(z.detach() / T, dim=1)
        loss = (1 - ALPHA) * F.cross_entropy(z, y)
        for head, name in zip(heads, ("layer1", "layer2"), strict=True):
            feature, logits = head(kept[name])
            kd = F.kl_div(F.log_softmax(logits / T, dim=1), told, reduction="batchmean") * T**2
            hint = (feature - deep).pow(2).sum() / len(deep)
            loss = loss + (1 - ALPHA) * F.cross_entropy(logits, y) + ALPHA * kd + HINT * hint
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def made(name: str, student: nn.Module, x: Tensor, y: Tensor) -> tuple[Step, nn.Module]:
    """A step by name, and the student that it changes."""
    own = copy.deepcopy(student)
    step, player = ours(own, x, y, channels_last=name == "ours_channels_last")
    if name != "bare":
        return step, own
    own = copy.deepcopy(student)
    return unwrap(own, copy.deepcopy(player.heads), x, y), own


def main() -> None:
    """Time them side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--instances", type=int, default=4)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    student = models.create("resnet20", classes=CLASSES, channels=3).model
    batch = torch.randn(BATCH, 3, 32, 32), torch.randint(CLASSES, (BATCH,))
    make = partial(made, student=student, x=batch[0], y=batch[1])
    names, after = ("bare", "ours", "ours_channels_last"), {}
    for name in names:
        step, after[name] = make(name)
        step()
    for name in names[1:]:
        pairs = zip(after["bare"].parameters(), after[name].parameters(), strict=True)
        print(f"difference {name} {max(float((a - b).detach().abs().max()) for a, b in pairs):.1e}")
    seconds = least_of_instances(lambda name: make(name)[0], names, asked.rounds, asked.instances)
    show(seconds, "bare")
    conclude([("ours/bare", seconds["ours"] / seconds["bare"], 1.1)])


if __name__ == "__main__":
    main()
