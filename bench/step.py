"""Compare one KD step, resnet56 → resnet20, with twelve lines of PyTorch, torchdistill and timm.

    python bench/step.py      (needs torchdistill and timm)

CIFAR-size images, batch 64, SGD with Nesterov momentum, 0.1 CE + 0.9 KD at T = 4; all take the same step:
`difference` is the largest difference of a weight from plain PyTorch ("bare") after the first step.
"""

from __future__ import annotations

import argparse
import copy
import logging
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from measure import conclude, least_of_instances, show
from torch import Tensor, nn

from tutelage import models
from tutelage.data.data_module import DataModule
from tutelage.data.splits import InMemorySplit
from tutelage.losses.base import Loss, LossSum
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import Scheme
from tutelage.schemes.offline import Offline
from tutelage.settings import TrainerSettings
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.frozen import Frozen
from tutelage.training.state import TrainingState
from tutelage.training.trainer import Trainer

CLASSES, BATCH, T, CE_WEIGHT = 100, 64, 4.0, 0.1
SGD: dict[str, Any] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
Step = Callable[[], object]


def by_hand(teacher: nn.Module, student: nn.Module, x: Tensor, y: Tensor) -> Step:
    """Return the step in plain PyTorch."""
    optimiser = torch.optim.SGD(student.parameters(), **SGD)
    teacher.eval()
    student.train()

    def step() -> None:
        with torch.no_grad():
            teacher_log_probs = F.log_softmax(teacher(x) / T, dim=1)
        logits = student(x)
        log_probs = F.log_softmax(logits / T, dim=1)
        kd = F.kl_div(log_probs, teacher_log_probs, reduction="batchmean", log_target=True) * T**2
        loss = CE_WEIGHT * F.cross_entropy(logits, y) + (1 - CE_WEIGHT) * kd
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def tutelage_step(
    teacher: nn.Module,
    student: nn.Module,
    x: Tensor,
    y: Tensor,
    method: Loss | LossSum | None = None,
    samples: int = BATCH,
    **settings: bool,
) -> Step:
    """Return the Trainer's step of offline distillation."""
    task = Classification()
    scheme = Offline(Player(student, Terms.from_method(method or KD(T), task.task_loss()), task), Frozen(teacher, task))
    return by_trainer(scheme, x, y, samples, **settings)


def by_trainer(scheme: Scheme, x: Tensor, y: Tensor, samples: int = BATCH, **settings: bool) -> Step:
    """Return the Trainer's step of a scheme, on a batch from its data."""
    rows = InMemorySplit(x, y, torch.arange(samples) % len(x))
    classes = tuple(map(str, range(CLASSES)))
    data = DataModule("random", "classification", classes, 3, (32, 32), (0.0,) * 3, (1.0,) * 3, rows, rows, rows)
    plain: dict[str, Any] = {"schedule": "constant", "lr_warmup": 0, "clip": None, "weight_decay": SGD["weight_decay"]}
    trainer = Trainer(TrainerSettings(device="cpu", lr=SGD["lr"], **plain, **settings), Classification())
    state = trainer.prepare(scheme, data)
    return on_batch(trainer, state, next(iter(state.batches.train(0))))


def on_batch(trainer: Trainer, state: TrainingState, batch: Batch) -> Step:
    """Return the Trainer's step on one batch, with what it logs."""

    def step() -> None:
        trainer._batch(state, batch)
        state.progress.step += 1
        if state.progress.step % trainer.settings.log_every == 0:
            trainer._log(state)

    return step


def torchdistill(teacher: nn.Module, student: nn.Module, x: Tensor, y: Tensor) -> Step:
    """Return the step of torchdistill's distillation box; the user has to set the teacher to eval mode."""
    logging.disable(logging.INFO)
    from torchdistill.core.distillation import get_distillation_box

    paths = {"student_module_path": ".", "student_module_io": "output"}
    paths |= {"teacher_module_path": ".", "teacher_module_io": "output"}
    kd = {"key": "KDLoss", "kwargs": {**paths, "temperature": T, "alpha": CE_WEIGHT, "reduction": "batchmean"}}
    config = {
        "num_epochs": 1,
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only"},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": kd, "weight": 1.0}}}},
        "optimizer": {"key": "SGD", "kwargs": dict(SGD)},
    }
    box = get_distillation_box(teacher.eval(), student, {}, config, torch.device("cpu"), None, False, 1)
    box.pre_epoch_process(epoch=0)
    return lambda: box.post_forward_process(box.forward_process(x, y, None))


def timm(teacher: nn.Module, student: nn.Module, x: Tensor, y: Tensor) -> Step:
    """Return the step of timm's task for logit distillation, in the loop of its training script."""
    from timm.task import DistillationTeacher, LogitDistillationTask

    normalisation = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    student.pretrained_cfg = teacher.pretrained_cfg = normalisation  # type: ignore[assignment]
    distillation_teacher = DistillationTeacher(teacher.requires_grad_(False))
    task = LogitDistillationTask(
        student, distillation_teacher, nn.CrossEntropyLoss(), task_loss_weight=CE_WEIGHT, temperature=T, verbose=False
    )
    task.train()
    optimiser = torch.optim.SGD(student.parameters(), **SGD)

    def step() -> None:
        loss = task(x, y)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def main() -> None:
    """Time the five variants, interleaved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--instances", type=int, default=4)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    teacher, student = (models.create(n, classes=CLASSES, channels=3).model for n in ("resnet56", "resnet20"))
    x, y = torch.randn(BATCH, 3, 32, 32), torch.randint(CLASSES, (BATCH,))
    makers: dict[str, Callable[..., Step]] = {
        "bare": by_hand,
        "ours": lambda *a: tutelage_step(*a, channels_last=False),
        "ours_channels_last": lambda *a: tutelage_step(*a, channels_last=True),
        "torchdistill": torchdistill,
        "timm": timm,
    }
    students = {name: copy.deepcopy(student) for name in makers}
    for name, make in makers.items():
        make(copy.deepcopy(teacher), students[name], x, y)()
        print(f"difference {name} {difference(students['bare'], students[name]):.1e}")
    deviation = difference(students["bare"], students["ours"])
    seconds = least_of_instances(
        lambda name: makers[name](copy.deepcopy(teacher), copy.deepcopy(student), x, y),
        makers,
        args.rounds,
        args.instances,
    )
    show(seconds, "bare")
    step_seconds = seconds["ours"]
    conclude(
        [
            ("difference of ours", deviation, 1e-5),
            ("ours/bare", step_seconds / seconds["bare"], 1.03),
            ("ours/torchdistill", step_seconds / seconds["torchdistill"], 1.00),
            ("ours/timm", step_seconds / seconds["timm"], 1.00),
            ("channels_last/ours", seconds["ours_channels_last"] / step_seconds, 0.85),
        ]
    )


def difference(first: nn.Module, second: nn.Module) -> float:
    """Return the largest difference of a weight."""
    return max(
        float((a - b).detach().abs().max()) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


if __name__ == "__main__":
    main()
