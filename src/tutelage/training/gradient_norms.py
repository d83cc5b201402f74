"""The norm of each term's gradient with respect to the student."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, NotFinite
from tutelage.schemes.base import Scheme
from tutelage.structures import Batch
from tutelage.utils.compat import unwrap, with_submodules

Gradients = Sequence[Tensor | None]
"""The gradient of a term with respect to each trainable parameter of a player's students; None where it has none."""


def gradient_norms(scheme: Scheme, batch: Batch, step: int) -> dict[str, float]:
    """Return ‖∇ (weighted term)‖₂ over the students' parameters, by "player/term"; buffers and random states are kept.

    Raises: ConfigError if a term's value has no gradient.
    """
    return {name: norm_of(gradients) for name, gradients in term_gradients(scheme, batch, step)}


def term_gradients(scheme: Scheme, batch: Batch, step: int) -> Iterator[tuple[str, Gradients]]:
    """Yield the gradient of each weighted term with its "player/term"; buffers and random states are kept.

    The batch's turns run without DDP, which allows one backward per forward only.

    Raises: ConfigError if a term's value has no gradient.
    """
    wrapped = dict(scheme.players.items())
    players = {name: unwrap(player) for name, player in wrapped.items()}
    buffers = {b: b.clone() for player in players.values() for b in player.buffers()}
    plain = with_submodules(scheme, players=nn.ModuleDict(players))
    devices = [batch_device] if (batch_device := _device(players)).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        for name, losses in plain.turns(batch, step):
            trained = list(players[name].students().values()) or [players[name]]  # a generator has no student
            every = dict.fromkeys(p for module in trained for p in module.parameters())  # students may share some
            parameters = [p for p in every if p.requires_grad]
            for i, (term, value) in enumerate(losses.items(), 1):
                if not value.requires_grad:
                    raise ConfigError(
                        f"term {term!r} of {name} reaches nothing trainable: remove it, or unfreeze a module."
                    )
                more = i < len(losses)
                yield f"{name}/{term}", torch.autograd.grad(value, parameters, retain_graph=more, allow_unused=True)
    with torch.no_grad():
        for buffer, value in buffers.items():
            buffer.copy_(value)


def norm_of(gradients: Gradients) -> float:
    """Return the norm over all parameters."""
    return float(torch.stack([g.norm() for g in gradients if g is not None] or [torch.zeros(())]).norm())


def refuse_infinite(losses: Mapping[str, float], step: int, checkpoints: str) -> None:
    """Reject losses that aren't finite.

    Args:
        losses: the loss of each term, by name.
        step: the step of the training.
        checkpoints: a sentence on the checkpoint from which the training can be resumed.

    Raises:
        NotFinite: a loss isn't finite; the message names the terms.
    """
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    if bad:
        raise NotFinite(
            f"{', '.join(bad)} became {losses[bad[0]]} by step {step}. If it is a distillation term, inspect the "
            f"teacher's outputs with `tutelage check`; otherwise use a smaller lr or clip=1. {checkpoints}"
        )


def _device(players: dict[str, nn.Module]) -> torch.device:
    return next(p.device for player in players.values() for p in player.parameters())
