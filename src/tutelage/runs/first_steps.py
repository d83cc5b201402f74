"""Checks of a training's first steps: the size of its gradients, and the course of its losses in real steps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from math import inf

import torch
from torch.nn.utils import clip_grad_norm_

from tutelage.errors import NotFinite
from tutelage.runs.builder import RunBuilder
from tutelage.runs.networks import NetworkLoader
from tutelage.runs.run import Run
from tutelage.runs.scheme_context import build_scheme
from tutelage.runs.storage import DryStorage
from tutelage.schemes.base import Scheme, unwrap
from tutelage.settings import TrainerSettings
from tutelage.training.callbacks import Callback
from tutelage.training.events import StepEnd
from tutelage.training.optimizers import resolve_settings
from tutelage.training.trainer import Trainer
from tutelage.utils.finding import Finding, Level

LONG_STEP = 0.5
"""A step that moves weights by this fraction of their norm tends to end in NaN."""

STRONG_CLIPPING = 100.0
"""A gradient that clipping shortens by this factor no longer depends on its terms' weights."""

DIVERGENCE = 10.0
"""Losses that have grown by this factor won't recover."""


def check_gradient_sizes(scheme: Scheme, settings: TrainerSettings) -> list[Finding]:
    """Check that a step along the gradients of the last backward has a sensible length."""
    return list(chain(*(_size(name, part, settings) for name, part in _parts(scheme)))) or [
        Finding("ok", "the gradients' size suits the learning rate")
    ]


def _parts(scheme: Scheme) -> Iterator[tuple[str, torch.nn.Module]]:
    for name, player in scheme.players.items():
        for part in unwrap(player).optimised_modules().values():
            yield name, part


def _size(name: str, part: torch.nn.Module, settings: TrainerSettings) -> Iterator[Finding]:
    moved = [p for p in part.parameters() if p.grad is not None]
    if not moved:
        return
    (optimizer, lr, _), clip = resolve_settings(settings, part), settings.clip
    norm = clip_grad_norm_(moved, inf).item()
    length = torch.stack([p.detach().norm() for p in moved]).norm().item()
    if not norm < inf:
        yield Finding("error", f"the gradient of {name} is {norm}", "check its terms' values above.")
    elif clip is not None and norm > STRONG_CLIPPING * clip:
        mend = "lower the weight of the term with the largest gradient norm, or try the first steps (steps=20)."
        fault = f"the gradient of {name} has norm {norm:.3g}, which clip={clip:g} makes {norm / clip:.0f}"
        yield Finding("warning", f"{fault} times shorter", mend)
    elif clip is None and optimizer == "sgd" and lr * norm > LONG_STEP * length:
        fault = f"a step of lr={lr:g} along the gradient of {name}, of norm {norm:.3g}, moves its weights by"
        mend = "leave clip as it is (5), or use a smaller lr."
        yield Finding("warning", f"{fault} {lr * norm / length:.0%} of their length", mend)


class StepLimitReached(Exception):
    """The requested number of steps was taken."""


class _FirstStepsWatch(Callback):
    """Keeps the events of the first steps, and ends the training after `steps` of them."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.events: list[StepEnd] = []

    def on_step_end(self, event: StepEnd) -> None:
        """Keep the event."""
        self.events.append(event)
        if event.step >= self.steps:
            raise StepLimitReached


def take_first_steps(run: Run, steps: int) -> list[Finding]:
    """Take the first steps of the student's training, on a copy and without files; check the course of the losses."""
    phase = run.plan.phases()[-1]
    settings = run.plan.settings(phase).model_copy(update={"log_every": 1, "snapshots": [], "accumulate": 1})
    watch = _FirstStepsWatch(steps)
    builder = RunBuilder(NetworkLoader(run.inputs, run.plan, DryStorage()))
    try:
        scheme, context = build_scheme(builder, phase)
        Trainer(settings, context.task, None, [watch], run.fabric).fit(scheme, context.data)
    except StepLimitReached:
        pass
    except NotFinite as error:
        return [Finding("error", str(error))]
    first, last = (sum(event.losses.values()) for event in (watch.events[0], watch.events[-1]))
    message = f"in {watch.events[-1].step} real steps the sum of the losses went from {first:.4g} to {last:.4g}"
    if last > first:
        level: Level = "error" if last > DIVERGENCE * first else "warning"
        return [Finding(level, message, "it should fall: use a smaller lr, a longer lr_warmup, or clip=1.")]
    return [Finding("ok", message)]
