"""Lookahead steps of a student, differentiable with respect to the parameters of its teacher."""

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
    """Copies of a player's weights and buffers, which take steps θ ← θ − η ∇_θ L(θ, φ) as a function of φ.

    The gradient of a loss that is computed with them reaches φ through all steps, and never reaches the player.

    Args:
        player: the player, which isn't changed.
        overrides: the parameters φ that replace the player's parameters of these names.

    Raises: ConfigError if a term requires the student's classifier, which would be the player's.
    """

    def __init__(self, player: Player, overrides: Mapping[str, Tensor] | None = None) -> None:
        for name, term in player.terms.named_terms().items():
            if any("student_head" in inputs for inputs in term.loss_inputs.values()):
                raise ConfigError(
                    f"term {name!r} requires the student's classifier, which a lookahead step doesn't provide; use "
                    "another loss (kd)."
                )
        self.player_module = _PlayerCall(player)
        self.task_terms = Terms.from_method(None, player.task.task_loss())
        self.weights = {
            n: p.detach().requires_grad_() for n, p in self.player_module.named_parameters() if p.requires_grad
        }
        self.buffers = {name: buffer.clone() for name, buffer in self.player_module.named_buffers()}
        self.velocity: dict[str, Tensor] = {}
        self.overrides = {f"player.{name}": parameter for name, parameter in (overrides or {}).items()}

    def losses(self, batch: Batch, teacher_outputs: Outputs | None) -> dict[str, Tensor]:
        """Return the player's weighted terms with the current weights."""
        losses: dict[str, Tensor] = self._call(lambda player: player(batch, teacher_outputs))
        return losses

    def task_loss(self, batch: Batch) -> Tensor:
        """Return the task loss with the current weights."""
        student_outputs = self._call(lambda player: player.forward_student(batch))
        losses = self.task_terms(student_outputs, None, batch, self.player_module.player.task.mask(batch))
        return torch.stack(list(losses.values())).sum()

    def step(self, loss: Tensor, rate: float, momentum: float = 0.0, decay: float = 0.0) -> None:
        """Take one step of gradient descent: v ← m·v + ∇L + d·θ, θ ← θ − η·v, with v = 0 before the first."""
        gradients = _gradients(loss, list(self.weights.values()), create_graph=True)
        for (name, weight), gradient in zip(list(self.weights.items()), gradients, strict=True):
            parts = [part for part in (gradient, decay * weight if decay else None) if part is not None]
            if momentum and name in self.velocity:
                parts.append(momentum * self.velocity[name])
            if parts:
                self.velocity[name] = sum(parts[1:], parts[0])
                self.weights[name] = weight - rate * self.velocity[name]

    def _call(self, function: Callable[[Player], Any]) -> Any:
        with sdpa_kernel(SDPBackend.MATH):  # the only attention that can be differentiated twice
            return functional_call(self.player_module, self.weights | self.buffers | self.overrides, (function,))


class _PlayerCall(nn.Module):
    """A module whose forward applies a function to a player, for functional_call."""

    def __init__(self, player: Player) -> None:
        super().__init__()
        self.player = player

    def forward(self, function: Callable[[Player], Any]) -> Any:
        return function(self.player)


def detach_except(value: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """Return a scalar of that value whose gradient reaches these parameters and nothing else.

    The gradient is computed here, at once.
    Raises: ConfigError if the value doesn't depend on them; ModelError if the student has a layer that can't be
    differentiated twice.
    """
    trainable = [p for p in parameters if p.requires_grad]
    gradients = _gradients(value, trainable) if value.requires_grad else []
    terms = [(g * (p - p.detach())).sum() for p, g in zip(trainable, gradients, strict=False) if g is not None]
    if not terms:
        raise ConfigError(
            "the student's terms don't depend on the parameters that are to be learned; add a loss such as kd."
        )
    return value.detach() + torch.stack(terms).sum()


def _gradients(value: Tensor, parameters: Sequence[Tensor], **options: Any) -> Sequence[Tensor | None]:
    try:
        gradients: Sequence[Tensor | None] = torch.autograd.grad(value, parameters, allow_unused=True, **options)
    except RuntimeError as error:
        if "derivative" not in str(error) and "differentiable" not in str(error):
            raise
        raise ModelError(
            f"a lookahead step can't be differentiated: {str(error).splitlines()[0]}. A layer of the student has no "
            "second derivative; use another student, or a method without lookahead steps (kd)."
        ) from error
    return gradients


class MetaBatches:
    """Batches of samples that the student isn't trained on; a step's batch depends only on the seed and the step."""

    def __init__(self, data: DataModule, batch_size: int, seed: int = 0) -> None:
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self.steps = data.steps(batch_size)

    def batch(self, step: int, like: Batch) -> Batch:
        """Return the batch of a step, with the device, memory format and epoch of the batch `like`."""
        epoch, start = divmod(step, self.steps)
        x = like.inputs
        assert isinstance(x, Tensor)
        layout = torch.channels_last if x.dim() == 4 and not x.is_contiguous() else None
        batches = self.data.batches(
            "train", self.batch_size, seed=self.seed, epoch=epoch, start=start, device=x.device, memory_format=layout
        )
        return replace(next(iter(batches)), epoch=like.epoch)


def hold_out_batches(context: SchemeContext, share: float) -> MetaBatches:
    """Remove a fraction `share` of the training samples from the phase's data, and return batches of them.

    Raises: ConfigError if that is fewer than two samples.
    """
    data = context.hold_out(share)
    if len(data.train) < 2:
        raise ConfigError(f"quiz={share} holds out {len(data.train)} sample(s), expected at least 2: increase quiz.")
    return MetaBatches(data, context.settings.batch_size, context.seed)


def rate_of(context: SchemeContext) -> Rate:
    """Return the learning rate of the student's plain gradient descent as a function of the step."""
    settings = context.settings
    multiplier, lr = lr_multiplier(settings, context.data.steps(settings.batch_size)), settings.lr or DEFAULTS["sgd"].lr
    return lambda step: lr * multiplier(step)


def refuse_unsupported(scheme: type[Scheme], settings: TrainerSettings) -> None:
    """Raise ConfigError for settings that don't support a gradient through a step."""
    unsupported = {
        "devices": settings.devices > 1,
        "accumulate": settings.accumulate > 1,
        "compile": settings.compile,
        "recompute": settings.recompute,
    }
    if any(unsupported.values()):
        faults = ", ".join(f"{key}={getattr(settings, key)}" for key, is_set in unsupported.items() if is_set)
        raise ConfigError(
            f"scheme={catalogue_name(scheme)} differentiates through a lookahead step for each batch, which "
            f"doesn't support {faults}: remove it."
        )
