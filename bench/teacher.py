"""Measure cheaper live teachers: folded batch norms, bf16, prefetched outputs.

    python bench/teacher.py      (wants two free cores)

resnet56 → resnet20, CIFAR-size images, batch 64, KD, one thread per operation. `difference` is the largest difference
of a logit from the plain teacher's, whose logits are scaled to about ±1. Epochs of 20 steps, with and without
prefetching ("ahead"), are wall times, interleaved, the minimum over rounds; all other times are process time. `cores`
is the ratio of process time to wall time in these epochs: 1 without prefetching if the cores are free.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import torch
from measure import conclude, least_of_instances, show
from torch import nn

from tutelage import models
from tutelage.data.data_module import DataModule
from tutelage.data.splits import InMemorySplit
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.settings import TrainerSettings
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.base import Teacher
from tutelage.teachers.frozen import Frozen, computes_natively
from tutelage.teachers.prefetching import PrefetchingTeacher
from tutelage.training.trainer import Trainer

CLASSES, BATCH, STEPS, T = 100, 64, 20, 4.0
TASK = Classification()


def network(name: str) -> nn.Module:
    """Return a network whose batch norms have seen data, as after a training."""
    model = models.create(name, classes=CLASSES, channels=3).model.train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(BATCH, 3, 32, 32))
        top = model.eval()(torch.randn(BATCH, 3, 32, 32)).abs().max()
        head = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
        head.weight /= top
        head.bias /= top
    return model


def forwards(model: nn.Module, rounds: int, instances: int) -> dict[str, float]:
    """Return the seconds of a teacher's forward, by variant."""
    variants: dict[str, tuple[bool, dict[str, Any]]] = {
        "plain": (False, {}),
        "folded": (False, {"folded": True}),
        "channels_last": (True, {}),
        "folded_channels_last": (True, {"folded": True}),
    }
    if computes_natively("cpu", torch.bfloat16):
        variants["bf16_channels_last"] = (True, {"precision": "bf16"})
        variants["bf16_folded_channels_last"] = (True, {"precision": "bf16", "folded": True})
    x = torch.randn(BATCH, 3, 32, 32)

    def make(name: str) -> Callable[[], torch.Tensor]:
        channels_last, options = variants[name]
        layout = torch.channels_last if channels_last else torch.contiguous_format
        teacher = Frozen(copy.deepcopy(model).to(memory_format=layout), TASK, **options)
        batch = Batch(x.contiguous(memory_format=layout))
        return lambda: teacher(batch).response

    plain = make("plain")()
    for name in variants:
        print(f"difference {name} {(make(name)() - plain).abs().max():.1e}")
    seconds = least_of_instances(make, variants, rounds, instances)
    show(seconds, "plain")
    return seconds


def epochs(teacher: nn.Module, student: nn.Module, rounds: int) -> dict[str, float]:
    """Return the wall seconds of an epoch of the Trainer, without and with prefetching."""
    rows = InMemorySplit(torch.randn(BATCH * STEPS, 3, 32, 32), torch.randint(CLASSES, (BATCH * STEPS,)))
    classes = tuple(map(str, range(CLASSES)))
    data = DataModule("random", "classification", classes, 3, (32, 32), (0.0,) * 3, (1.0,) * 3, rows, rows, rows)

    def make(wrap: Callable[[Teacher], Teacher]) -> Callable[[], object]:
        trainer = Trainer(TrainerSettings(device="cpu", schedule="constant"), TASK)
        wrapped = wrap(Frozen(copy.deepcopy(teacher), TASK))
        scheme = Offline(Player(copy.deepcopy(student), Terms.from_method(KD(T), TASK.task_loss()), TASK), wrapped)
        state = trainer.prepare(scheme, data)

        def epoch() -> None:
            with closing(scheme.prefetch(state.batches.train(0))) as batches:
                for batch in batches:
                    trainer._batch(state, batch)

        return epoch

    runs = {"without": make(lambda t: t), "ahead": make(lambda t: PrefetchingTeacher(t, 2))}
    least, cores = dict.fromkeys(runs, float("inf")), dict.fromkeys(runs, 0.0)
    for number in range(rounds):
        for name in sorted(runs, reverse=bool(number % 2)):
            start, cpu = time.perf_counter(), time.process_time()
            runs[name]()
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            if seconds < least[name]:
                least[name], cores[name] = seconds, cpu / seconds
    for name, ratio in cores.items():
        print(f"cores {name} {ratio:.2f}")
    show(least, "without")
    return least


def main() -> None:
    """Time forwards, then epochs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--instances", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    teacher, student = network("resnet56"), network("resnet20")
    forward = forwards(teacher, args.rounds, args.instances)
    epoch = epochs(teacher, student, args.rounds)
    conclude(
        [
            ("folded/plain", forward["folded"] / forward["plain"], 1.0),
            ("folded/plain_channels_last", forward["folded_channels_last"] / forward["channels_last"], 1.0),
            ("ahead/without", epoch["ahead"] / epoch["without"], 1.0),
        ]
    )


if __name__ == "__main__":
    main()
