"""Optimisers and the learning rate's schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.objective.terms import Terms
from tutelage.settings import DEFAULTS, OptimizerSettings, TrainerSettings, lr_multiplier
from tutelage.training.dot import DOT
from tutelage.utils.compat import set_last_lr

USUAL = {"sgd": (1e-4, 1.0), "adamw": (1e-6, 1e-2)}
"""Learning rates that are usual with each optimiser."""


def suited(settings: TrainerSettings, module: nn.Module) -> OptimizerSettings:
    """Return a module's settings: the run's, with defaults that suit the module; its `own_settings` take precedence."""
    settings = settings.model_copy(update=getattr(module, "own_settings", {}))
    name = settings.optimizer
    if name == "auto":
        bears = settings.lr is None or settings.lr <= USUAL["adamw"][1]
        name = "adamw" if bears and not settings.dot and _has_layer_norms(module) else "sgd"
    default, decay = DEFAULTS[name], settings.weight_decay
    return OptimizerSettings(
        name, default.lr if settings.lr is None else settings.lr, default.weight_decay if decay is None else decay
    )


def _has_layer_norms(module: nn.Module) -> bool:
    """Return whether a network in the module has layer norms; those of connectors and losses don't count."""
    networks: list[nn.Module] = [m for m in module.modules() if isinstance(m, FeatureExtractor)]
    return any(isinstance(m, nn.LayerNorm | nn.RMSNorm) for network in networks or [module] for m in network.modules())


def optimiser(module: nn.Module, settings: TrainerSettings) -> Optimizer:
    """Return the optimiser of a module's trainable parameters; its `own_settings` replace the run's."""
    name, lr, decay = suited(settings, module)
    settings = settings.model_copy(update=getattr(module, "own_settings", {}))
    parameters = [p for p in module.parameters() if p.requires_grad]
    if settings.dot:
        return DOT(parameters, lr, settings.momentum, settings.dot, decay)
    if name == "adamw":
        return AdamW(parameters, lr=lr, weight_decay=decay, betas=getattr(module, "own_betas", (0.9, 0.999)))
    options: dict[str, Any] = {"momentum": settings.momentum, "nesterov": settings.momentum > 0}
    fused = settings.precision != "16" and not settings.sharded and parameters[0].device.type in ("cpu", "cuda")
    return SGD(parameters, lr=lr, weight_decay=decay, fused=fused, **options)


@runtime_checkable
class SeparatesTeacherGradients(Protocol):
    """An optimiser that steps from the gradients of the distillation terms and, apart from them, those of the rest.

    In a turn the trainer goes backward on the distillation terms and calls `stash_teacher_gradients`, then goes
    backward on the other terms and calls `step`.
    """

    def stash_teacher_gradients(self) -> None:
        """Take the current gradients as those of the distillation terms, and clear them."""


def distillation_terms(terms: Mapping[str, Terms]) -> set[str]:
    """Return the names of the terms that need a teacher, with their player: "student/kd"."""
    return {before + n for before, of in terms.items() for n, term in of.named().items() if term.loss.needs_teacher}


def scheduler(optimizer: Optimizer, settings: TrainerSettings, steps_an_epoch: int) -> LambdaLR:
    """Return the scheduler of the optimiser's learning rate."""
    return LambdaLR(optimizer, lr_multiplier(settings, steps_an_epoch))


def restore_schedule(schedule: LambdaLR, state: dict[str, Any]) -> None:
    """Restore a schedule's progress, with the course and the peak of the current settings."""
    peaks = schedule.base_lrs
    schedule.load_state_dict(state)
    schedule.base_lrs = peaks
    rates = [peak * share(schedule.last_epoch) for peak, share in zip(peaks, schedule.lr_lambdas, strict=True)]
    set_last_lr(schedule, rates)
    for group, peak, rate in zip(schedule.optimizer.param_groups, peaks, rates, strict=True):
        group["lr"], group["initial_lr"] = rate, peak


def averages(students: Mapping[str, nn.Module], decay: float | None) -> dict[str, AveragedModel]:
    """Return moving averages of the students, also of their buffers; none without a decay."""
    if decay is None:
        return {}
    average = get_ema_multi_avg_fn(decay)
    return {name: AveragedModel(s, multi_avg_fn=average, use_buffers=True) for name, s in students.items()}
