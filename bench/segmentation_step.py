"""Compare the plain training of a segmentation network with a loop by hand, in the form of the authors' scripts.

    python bench/segmentation_step.py [--network torchvision:lraspp_mobilenet_v3_large]

The same network, images, masks and order: forward, bilinear resize to the mask, cross-entropy that ignores 255,
backward and SGD with momentum. `difference` is the largest of a loss over the steps, in double precision, since
rounding grows in single precision; times are the least process time of a step in single precision.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from measure import conclude, least_of_instances, show
from step import on_batch
from torch import Tensor, nn

from tutelage import models
from tutelage.data.data_module import DataModule
from tutelage.data.splits import InMemorySplit
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.settings import TrainerSettings
from tutelage.tasks.segmentation import IGNORE, Segmentation
from tutelage.training.callbacks import Callback
from tutelage.training.events import Event, StepEnd
from tutelage.training.trainer import Trainer

CLASSES, BATCH, SIZE, SEED = 11, 8, (64, 80), 1
SGD: dict[str, Any] = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
SETTINGS: dict[str, Any] = {
    "schedule": "constant", "lr_warmup": 0, "clip": None, "weight_decay": SGD["weight_decay"], "lr": SGD["lr"],
    "batch_size": BATCH, "device": "cpu", "seed": SEED, "epochs": 2, "channels_last": False,
}  # fmt: skip


class Losses(Callback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_event(self, event: Event) -> None:
        """Keep a step's loss."""
        if isinstance(event, StepEnd):
            self.values.append(event.losses["ce"])


class Double(nn.Module):
    """A network in double precision, of inputs in single precision."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).double()

    def forward(self, images: Tensor) -> Any:
        """Return the network's output."""
        return self.network(images.double())


def noise(samples: int) -> DataModule:
    """Return random images with smooth random masks, a part of which is unlabelled."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (samples, 3, *SIZE), generator=generator, dtype=torch.uint8)
    coarse = torch.rand(samples, CLASSES + 1, 4, 5, generator=generator)
    masks = F.interpolate(coarse, size=SIZE, mode="bilinear").argmax(1)
    masks[masks == CLASSES] = IGNORE
    part, names = InMemorySplit(images, masks.to(torch.uint8)), tuple(map(str, range(CLASSES)))
    return DataModule(
        "noise", "segmentation", names, 3, SIZE, (0.5,) * 3, (0.3,) * 3, part, part, part, "crop-flip", target="mask"
    )


def step_by_hand(network: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the step in plain PyTorch, which returns the loss."""
    optimiser = torch.optim.SGD(network.parameters(), nesterov=True, **SGD)
    network.train()

    def step(images: Tensor, masks: Tensor) -> Tensor:
        raw = network(images)
        logits = raw["out"] if isinstance(raw, dict) else raw
        if logits.shape[2:] != masks.shape[1:]:
            logits = F.interpolate(logits, size=masks.shape[1:], mode="bilinear", align_corners=False)
        loss = F.cross_entropy(logits, masks, ignore_index=IGNORE)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def scheme_of(network: nn.Module) -> Offline:
    """Return the scheme of plain training."""
    task = Segmentation()
    return Offline(Player(network, Terms.from_method(None, task.task_loss()), task), None)


def losses_by_hand(network: nn.Module, data: DataModule) -> list[float]:
    """Return the loss of every step of the loop by hand."""
    step, losses = step_by_hand(network), []
    for epoch in range(SETTINGS["epochs"]):
        for batch in data.batches("train", BATCH, seed=SEED, epoch=epoch):
            assert isinstance(batch.inputs, Tensor)
            assert batch.targets is not None
            losses.append(float(step(batch.inputs, batch.targets)))
    return losses


def losses_by_trainer(network: nn.Module, data: DataModule) -> list[float]:
    """Return the loss of every step of the Trainer."""
    losses = Losses()
    Trainer(TrainerSettings(**SETTINGS, log_every=1), Segmentation(), callbacks=[losses]).fit(scheme_of(network), data)
    return losses.values


def step_by_trainer(network: nn.Module, data: DataModule) -> Callable[[], object]:
    """Return the Trainer's step on one batch."""
    trainer = Trainer(TrainerSettings(**SETTINGS), Segmentation())
    state = trainer.prepare(scheme_of(network), data)
    return on_batch(trainer, state, next(iter(state.batches.train(0))))


def timed_by_hand(network: nn.Module, data: DataModule) -> Callable[[], object]:
    """Return the step by hand on one batch."""
    batch, step = next(data.batches("train", BATCH, seed=SEED)), step_by_hand(network)
    assert isinstance(batch.inputs, Tensor)
    assert batch.targets is not None
    images, masks = batch.inputs, batch.targets
    return lambda: step(images, masks)


def main() -> None:
    """Compare the losses, then the times, interleaved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="seg16")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--instances", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network, data = models.create(args.network, classes=CLASSES, task="segmentation").model, noise(5 * BATCH)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # its random numbers depend on what else is drawn
    bare, taught = (run(Double(network), data) for run in (losses_by_hand, losses_by_trainer))
    difference = max(abs(a - b) for a, b in zip(bare, taught, strict=True))
    print(f"{len(bare)} steps, loss from {bare[0]:.4f} to {bare[-1]:.4f}")
    makers = {"bare": timed_by_hand, "tutelage": step_by_trainer}
    seconds = least_of_instances(
        lambda name: makers[name](copy.deepcopy(network), data), makers, args.rounds, args.instances
    )
    show(seconds, "bare")
    conclude([("difference", difference, 1e-6), ("tutelage/bare", seconds["tutelage"] / seconds["bare"], 1.05)])


if __name__ == "__main__":
    main()
