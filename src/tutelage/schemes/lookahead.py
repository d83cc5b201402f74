"""A step that a student doesn't take: what it would say after it, as a function of whatever taught it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError, ModelError
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import Scheme, SchemeContext
from tutelage.settings import DEFAULTS, TrainerSettings, lr_multiplier
from tutelage.structures import Batch, Outputs
from tutelage.utils.registry import catalogue_name

Rate = Callable[[int], float]
"""The learning rate at a step."""


class LookaheadStudent:
    """A player's weights and buffers apart from it, and steps of them: θ ← θ − η ∇_θ L(θ, φ), as a function of φ.

    What is computed with them reaches φ by the gradients of all steps, and never the player. given: what of φ stands in
    the place of the player's own constants, by name.
    Raises: ConfigError if a term asks for the student's classifier, which would be the player's.
    """

    def __init__(self, player: Player, given: Mapping[str, Tensor] | None = None) -> None:
        for name, term in player.terms.named().items():
            if any("student_head" in asks for asks in term.loss_inputs.values()):
                raise ConfigError(f"term {name!r} asks for the student's classifier, which a step ahead doesn't give.")
        self.doing = _Doing(player)
        self.truth = Terms.from_method(None, player.task.task_loss())
        self.weights = {n: p.detach().requires_grad_() for n, p in self.doing.named_parameters() if p.requires_grad}
        self.buffers = {name: buffer.clone() for name, buffer in self.doing.named_buffers()}
        self.velocity: dict[str, Tensor] = {}
        self.given = {f"player.{name}": parameter for name, parameter in (given or {}).items()}

    def losses(self, batch: Batch, teacher_outputs: Outputs | None) -> dict[str, Tensor]:
        """The player's terms."""
        losses: dict[str, Tensor] = self._do(lambda player: player(batch, teacher_outputs))
        return losses

    def error(self, batch: Batch) -> Tensor:
        """The task's own loss."""
        student_outputs = self._do(lambda player: player.forward_student(batch))
        found = self.truth(student_outputs, None, batch, self.doing.player.task.mask(batch))
        return torch.stack(list(found.values())).sum()

    def step(self, loss: Tensor, rate: float, momentum: float = 0.0, decay: float = 0.0) -> None:
        """One step of gradient descent: v ← m·v + ∇L + d·θ, θ ← θ − η·v; before the first one v is 0."""
        gradients = _gradients(loss, list(self.weights.values()), create_graph=True)
        for (name, weight), gradient in zip(list(self.weights.items()), gradients, strict=True):
            parts = [part for part in (gradient, decay * weight if decay else None) if part is not None]
            if momentum and name in self.velocity:
                parts.append(momentum * self.velocity[name])
            if parts:
                self.velocity[name] = sum(parts[1:], parts[0])
                self.weights[name] = weight - rate * self.velocity[name]

    def _do(self, what: Callable[[Player], Any]) -> Any:
        with sdpa_kernel(SDPBackend.MATH):  # the only attention that can be differentiated twice
            return functional_call(self.doing, self.weights | self.buffers | self.given, (what,))


class _Doing(nn.Module):
    """Anything that a player can do, as a forward."""

    def __init__(self, player: Player) -> None:
        super().__init__()
        self.player = player

    def forward(self, what: Callable[[Player], Any]) -> Any:
        return what(self.player)


def detach_except(value: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """A scalar of that value whose gradient, computed here, reaches these parameters and nothing else.

    Raises: ConfigError if the value doesn't depend on them; ModelError if the student has a layer that can't be
    differentiated twice.
    """
    learned = [p for p in parameters if p.requires_grad]
    gradients = _gradients(value, learned) if value.requires_grad else []
    moved = [(g * (p - p.detach())).sum() for p, g in zip(learned, gradients, strict=False) if g is not None]
    if not moved:
        raise ConfigError("what the student learns doesn't depend on what is to be learned: take a loss such as kd.")
    return value.detach() + torch.stack(moved).sum()


def _gradients(value: Tensor, parameters: Sequence[Tensor], **how: Any) -> Sequence[Tensor | None]:
    try:
        found: Sequence[Tensor | None] = torch.autograd.grad(value, parameters, allow_unused=True, **how)
    except RuntimeError as error:
        if "derivative" not in str(error) and "differentiable" not in str(error):
            raise
        raise ModelError(
            f"a step of the student can't be differentiated: {str(error).splitlines()[0]}. A layer of it has no second "
            "derivative; use another student, or a method without a step ahead (kd)."
        ) from error
    return found


class MetaBatches:
    """Samples that the student isn't trained on, a batch of them for each step: by the seed and the step alone."""

    def __init__(self, data: DataModule, batch_size: int, seed: int = 0) -> None:
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self.steps = data.steps(batch_size)

    def batch(self, step: int, like: Batch) -> Batch:
        """The one of a step, where and when the other batch is."""
        epoch, start = divmod(step, self.steps)
        x = like.inputs
        assert isinstance(x, Tensor)
        layout = torch.channels_last if x.dim() == 4 and not x.is_contiguous() else None
        found = self.data.batches(
            "train", self.batch_size, seed=self.seed, epoch=epoch, start=start, device=x.device, memory_format=layout
        )
        return replace(next(iter(found)), epoch=like.epoch)


def held_out(parts: SchemeContext, share: float) -> MetaBatches:
    """A share of the training samples, held out of the phase's data.

    Raises: ConfigError if the share makes less than two samples.
    """
    held = parts.hold_out(share)
    if len(held.train) < 2:
        raise ConfigError(f"quiz={share} makes {len(held.train)} sample: expected two or more, so raise it.")
    return MetaBatches(held, parts.settings.batch_size, parts.seed)


def rate_of(parts: SchemeContext) -> Rate:
    """The learning rate of the student's plain gradient descent at each step."""
    settings = parts.settings
    share, lr = lr_multiplier(settings, parts.data.steps(settings.batch_size)), settings.lr or DEFAULTS["sgd"].lr
    return lambda step: lr * share(step)


def refuse_unsupported(scheme: type[Scheme], settings: TrainerSettings) -> None:
    """Refuse what doesn't go with a gradient through a step."""
    barred = {
        "devices": settings.devices > 1,
        "accumulate": settings.accumulate > 1,
        "compile": settings.compile,
        "recompute": settings.recompute,
    }
    if any(barred.values()):
        given = ", ".join(f"{key}={getattr(settings, key)}" for key, is_given in barred.items() if is_given)
        raise ConfigError(
            f"scheme={catalogue_name(scheme)} differentiates through a step of the student, each batch, which "
            f"doesn't go with {given}: leave it out."
        )
