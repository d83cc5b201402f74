"""Compare BYOT's step on resnet20 with a hand-written loop with the same heads.

    python bench/byot.py

CIFAR-size images, batch 64, SGD with Nesterov momentum. Both take the same step: `difference` is the largest difference
of a weight after the first step.
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


def tutelage_step(
    student: nn.Module, x: Tensor, y: Tensor, channels_last: bool = False
) -> tuple[Step, MultiExitPlayer]:
    """Return the Trainer's step on a batch from its data, and the player."""
    player = MultiExitPlayer(student, Terms.from_method(load("byot")["method"]), Classification())
    torch.manual_seed(1)
    return by_trainer(MultiExit(player), x, y, channels_last=channels_last), player


def by_hand(student: Any, heads: nn.ModuleList, x: Tensor, y: Tensor) -> Step:
    """Return the step in plain PyTorch; the student is a resnet with three stages."""
    optimiser = torch.optim.SGD([*student.parameters(), *heads.parameters()], **SGD)
    features: dict[str, Tensor] = {}
    for name in ("layer1", "layer2", "layer3"):
        getattr(student, name).register_forward_hook(lambda m, a, out, name=name: features.update({name: out}))
    student.train()

    def step() -> None:
        z = student(x)
        deepest, soft_targets = features["layer3"].detach(), F.softmax(z.detach() / T, dim=1)
        loss = (1 - ALPHA) * F.cross_entropy(z, y)
        for head, name in zip(heads, ("layer1", "layer2"), strict=True):
            feature, logits = head(features[name])
            kd = F.kl_div(F.log_softmax(logits / T, dim=1), soft_targets, reduction="batchmean") * T**2
            hint = (feature - deepest).pow(2).sum() / len(deepest)
            loss = loss + (1 - ALPHA) * F.cross_entropy(logits, y) + ALPHA * kd + HINT * hint
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def build_step(name: str, student: nn.Module, x: Tensor, y: Tensor) -> tuple[Step, nn.Module]:
    """Return a step by name, and the student that it trains."""
    trained = copy.deepcopy(student)
    step, player = tutelage_step(trained, x, y, channels_last=name == "ours_channels_last")
    if name != "bare":
        return step, trained
    trained = copy.deepcopy(student)
    return by_hand(trained, copy.deepcopy(player.heads), x, y), trained


def main() -> None:
    """Time the variants, interleaved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--instances", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    student = models.create("resnet20", classes=CLASSES, channels=3).model
    batch = torch.randn(BATCH, 3, 32, 32), torch.randint(CLASSES, (BATCH,))
    make = partial(build_step, student=student, x=batch[0], y=batch[1])
    names, after = ("bare", "ours", "ours_channels_last"), {}
    for name in names:
        step, after[name] = make(name)
        step()
    for name in names[1:]:
        pairs = zip(after["bare"].parameters(), after[name].parameters(), strict=True)
        print(f"difference {name} {max(float((a - b).detach().abs().max()) for a, b in pairs):.1e}")
    seconds = least_of_instances(lambda name: make(name)[0], names, args.rounds, args.instances)
    show(seconds, "bare")
    conclude([("ours/bare", seconds["ours"] / seconds["bare"], 1.1)])


if __name__ == "__main__":
    main()
