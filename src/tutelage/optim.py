"""Optimisers and the learning rate's course."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tutelage.settings import Settings


def optimiser(module: nn.Module, settings: Settings) -> Optimizer:
    """The optimiser of a module's trainable parameters."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if settings.optimizer == "adamw":
        return AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    options: dict[str, Any] = {"momentum": settings.momentum, "nesterov": settings.momentum > 0}
    fused = settings.precision != "16" and not settings.sharded and parameters[0].device.type in ("cpu", "cuda")
    return SGD(parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=fused, **options)


def course(settings: Settings, steps_an_epoch: int) -> Callable[[int], float]:
    """The learning rate at a step, as a share of its peak: a linear rise, then cosine, steps of 1/10, or constant."""
    total = settings.epochs * steps_an_epoch
    rise = settings.lr_warmup * steps_an_epoch

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        done = min((step - rise) / max(total - rise, 1), 1.0)
        if settings.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if settings.schedule == "step":
            return 0.1 ** sum(done >= m for m in settings.milestones)
        return 1.0

    return share


def scheduler(optimizer: Optimizer, settings: Settings, steps_an_epoch: int) -> LambdaLR:
    """Steps the optimiser's learning rate along its course."""
    return LambdaLR(optimizer, course(settings, steps_an_epoch))


def averages(students: Mapping[str, nn.Module], decay: float | None) -> dict[str, AveragedModel]:
    """Copies of the students that are to follow them, buffers too; none without a decay."""
    if decay is None:
        return {}
    average = get_ema_multi_avg_fn(decay)
    return {name: AveragedModel(s, multi_avg_fn=average, use_buffers=True) for name, s in students.items()}
