"""Optimisers and the learning rate's course."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.objective.terms import Terms
from tutelage.settings import DEFAULTS, OptimizerSettings, TrainerSettings, lr_multiplier

USUAL = {"sgd": (1e-4, 1.0), "adamw": (1e-6, 1e-2)}
"""Learning rates that are usual with each optimiser."""


def suited(settings: TrainerSettings, module: nn.Module) -> OptimizerSettings:
    """What the settings say, or leave open and suits the module; its `own_settings` win over them."""
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
    """Whether a network in it has; connectors and losses decide nothing."""
    networks: list[nn.Module] = [m for m in module.modules() if isinstance(m, FeatureExtractor)]
    return any(isinstance(m, nn.LayerNorm | nn.RMSNorm) for network in networks or [module] for m in network.modules())


def optimiser(module: nn.Module, settings: TrainerSettings) -> Optimizer:
    """The optimiser of a module's trainable parameters; its `own_settings` are those that it has otherwise."""
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


class DOT(Optimizer):
    """SGD with a momentum of its own for the gradient of what the teacher says, and one for that of the ground truth.

    v_kd ← (μ + Δ)·v_kd + g_kd;  v_ce ← (μ − Δ)·v_ce + g_ce + λθ;  θ ← θ − η·(v_kd + v_ce)

    A parameter that only one of the two reaches has momentum μ, and the decay λ, as in the authors' code. `set_apart`
    takes the gradients that are there as g_kd; those that are there at `step` are g_ce.
    Paper: Zhao, Cui, Song, Liang. ICCV 2023. arXiv:2307.08436.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float, gap: float, decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "gap": gap, "weight_decay": decay})
        self.taught: dict[Tensor, Tensor] = {}

    def stash_teacher_gradients(self) -> None:
        """Keep the gradients as those of the teacher's terms."""
        for p in (p for group in self.param_groups for p in group["params"] if p.grad is not None):
            self.taught[p], p.grad = p.grad, None

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step from both gradients."""
        for group in self.param_groups:
            lr, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
            for p in group["params"]:
                taught, truth = self.taught.pop(p, None), p.grad
                gap = group["gap"] if taught is not None and truth is not None else 0.0
                if truth is not None:
                    self._move(p, "truth", truth.add(p, alpha=decay), momentum - gap, lr)
                if taught is not None:
                    own = taught if gap else taught.add(p, alpha=decay)
                    self._move(p, "taught", own, momentum + gap, lr)

    def _move(self, p: Tensor, which: str, gradient: Tensor, momentum: float, lr: float) -> None:
        state = self.state[p]
        state[which] = state[which].mul_(momentum).add_(gradient) if which in state else gradient.clone()
        p.sub_(state[which], alpha=lr)


def distillation_terms(terms: Mapping[str, Terms]) -> set[str]:
    """The names of the terms that need a teacher, by what stands before them: "student/kd"."""
    return {before + n for before, of in terms.items() for n, term in of.named().items() if term.loss.needs_teacher}


def scheduler(optimizer: Optimizer, settings: TrainerSettings, steps_an_epoch: int) -> LambdaLR:
    """Steps the optimiser's learning rate along its course."""
    return LambdaLR(optimizer, lr_multiplier(settings, steps_an_epoch))


def restore_schedule(schedule: LambdaLR, state: dict[str, Any]) -> None:
    """Be as far as that state is, on the course and at the peak that the settings say now."""
    peaks = schedule.base_lrs
    schedule.load_state_dict(state)
    schedule.base_lrs = peaks
    rates = [peak * share(schedule.last_epoch) for peak, share in zip(peaks, schedule.lr_lambdas, strict=True)]
    schedule._last_lr = list(rates)
    for group, peak, rate in zip(schedule.optimizer.param_groups, peaks, rates, strict=True):
        group["lr"], group["initial_lr"] = rate, peak


def averages(students: Mapping[str, nn.Module], decay: float | None) -> dict[str, AveragedModel]:
    """Copies of the students that are to follow them, buffers too; none without a decay."""
    if decay is None:
        return {}
    average = get_ema_multi_avg_fn(decay)
    return {name: AveragedModel(s, multi_avg_fn=average, use_buffers=True) for name, s in students.items()}
