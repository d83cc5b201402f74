"""Optimisers, learning-rate schedules and moving averages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.objective.terms import Terms
from tutelage.settings import DEFAULTS, OptimizerSettings, TrainerSettings, lr_multiplier
from tutelage.training.dot import DOT
from tutelage.utils.compat import set_last_lr

USUAL_RATES = {"sgd": (1e-4, 1.0), "adamw": (1e-6, 1e-2)}
"""The smallest and largest usual learning rate of each optimiser."""


def resolve_settings(settings: TrainerSettings, module: nn.Module) -> OptimizerSettings:
    """Return the optimiser's settings, with defaults that suit the module; its `own_settings` override them."""
    settings = settings.model_copy(update=getattr(module, "own_settings", {}))
    name = settings.optimizer
    if name == "auto":
        adamw_rate = settings.lr is None or settings.lr <= USUAL_RATES["adamw"][1]
        name = "adamw" if adamw_rate and not settings.dot and _has_layer_norms(module) else "sgd"
    default, decay = DEFAULTS[name], settings.weight_decay
    return OptimizerSettings(
        name, default.lr if settings.lr is None else settings.lr, default.weight_decay if decay is None else decay
    )


def _has_layer_norms(module: nn.Module) -> bool:
    """Return True if a network in the module has layer norms; connectors and losses don't count."""
    networks: list[nn.Module] = [m for m in module.modules() if isinstance(m, FeatureExtractor)]
    return any(isinstance(m, nn.LayerNorm | nn.RMSNorm) for network in networks or [module] for m in network.modules())


def create_optimiser(module: nn.Module, settings: TrainerSettings) -> Optimizer:
    """Return the optimiser of a module's trainable parameters; its `own_settings` override the settings."""
    name, lr, decay = resolve_settings(settings, module)
    settings = settings.model_copy(update=getattr(module, "own_settings", {}))
    parameters = [p for p in module.parameters() if p.requires_grad]
    if settings.dot:
        return DOT(parameters, lr, settings.momentum, settings.dot, decay)
    if name == "adamw":
        return AdamW(parameters, lr=lr, weight_decay=decay, betas=getattr(module, "own_betas", (0.9, 0.999)))
    options: dict[str, Any] = {"momentum": settings.momentum, "nesterov": settings.nesterov and settings.momentum > 0}
    fused = settings.precision != "16" and not settings.sharded and parameters[0].device.type in ("cpu", "cuda")
    sgd = SGD(parameters, lr=lr, weight_decay=decay, fused=fused, **options)
    if fused and settings.momentum > 0:
        sgd.register_step_pre_hook(_start_late_momenta)
    return sgd


def _start_late_momenta(sgd: Optimizer, args: Any, kwargs: Any) -> None:
    """Start the momentum of parameters whose first gradient comes later than others': fused SGD refuses the mixture.

    Zero is exact: the first step of SGD sets the momentum to the gradient.
    """
    for group in sgd.param_groups:
        trained = [p for p in group["params"] if p.grad is not None]
        late = [p for p in trained if sgd.state.get(p, {}).get("momentum_buffer") is None]
        if len(late) < len(trained):
            for p in late:
                sgd.state[p]["momentum_buffer"] = torch.zeros_like(p)


@runtime_checkable
class SeparatesTeacherGradients(Protocol):
    """An optimiser that treats the gradients of the distillation terms separately from those of the other terms.

    In a turn, the trainer calls backward on the distillation terms, then `stash_teacher_gradients`, then backward on
    the other terms, then `step`.
    """

    def stash_teacher_gradients(self) -> None:
        """Store the current gradients as those of the distillation terms, and clear them."""


def distillation_terms(terms: Mapping[str, Terms]) -> set[str]:
    """Return the names of the terms that need a teacher, such as "student/kd"; terms: by the names' prefix."""
    return {
        prefix + n
        for prefix, some in terms.items()
        for n, term in some.named_terms().items()
        if term.loss.needs_teacher
    }


def create_scheduler(optimizer: Optimizer, settings: TrainerSettings, steps_an_epoch: int) -> LambdaLR:
    """Return the scheduler of the optimiser's learning rate, which steps once per optimiser step."""
    return LambdaLR(optimizer, lr_multiplier(settings, steps_an_epoch))


def restore_schedule(schedule: LambdaLR, state: dict[str, Any]) -> None:
    """Restore a schedule's position; the peak learning rate and the shape are those of the current settings."""
    peaks = schedule.base_lrs
    schedule.load_state_dict(state)
    schedule.base_lrs = peaks
    rates = [
        peak * multiplier(schedule.last_epoch) for peak, multiplier in zip(peaks, schedule.lr_lambdas, strict=True)
    ]
    set_last_lr(schedule, rates)
    for group, peak, rate in zip(schedule.optimizer.param_groups, peaks, rates, strict=True):
        group["lr"], group["initial_lr"] = rate, peak


def create_averages(students: Mapping[str, nn.Module], decay: float | None) -> dict[str, AveragedModel]:
    """Return the moving averages of the students, including their buffers; none if `decay` is None."""
    if decay is None:
        return {}
    average = get_ema_multi_avg_fn(decay)
    return {name: AveragedModel(s, multi_avg_fn=average, use_buffers=True) for name, s in students.items()}
