"""The gradient norm of each term at the student."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from tutelage.errors import ConfigError, NotFinite
from tutelage.schemes.base import Scheme
from tutelage.structures import Batch
from tutelage.utils.compat import unwrap, with_submodules


def gradient_norms(scheme: Scheme, batch: Batch, step: int) -> dict[str, float]:
    """Return ‖∇ (weighted term)‖₂ over the students' parameters, by "player/term"; no state changes.

    It is measured on copies of the buffers, outside DDP (one forward may have only one backward there), on the batch's
    turns.
    Raises: ConfigError if a term's value has no gradient at all.
    """
    wrapped = dict(scheme.players.items())
    players = {name: unwrap(player) for name, player in wrapped.items()}
    buffers = {b: b.clone() for player in players.values() for b in player.buffers()}
    plain = with_submodules(scheme, players=nn.ModuleDict(players))
    norms: dict[str, float] = {}
    devices = [batch_device] if (batch_device := _device(players)).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        for name, losses in plain.turns(batch, step):
            trained = list(players[name].students().values()) or [players[name]]  # a generator is no student
            every = dict.fromkeys(p for module in trained for p in module.parameters())  # students may share some
            parameters = [p for p in every if p.requires_grad]
            for i, (term, value) in enumerate(losses.items(), 1):
                if not value.requires_grad:
                    raise ConfigError(
                        f"term {term!r} of {name} reaches nothing trainable: leave it out, or unfreeze it."
                    )
                grads = torch.autograd.grad(value, parameters, retain_graph=i < len(losses), allow_unused=True)
                norm = torch.stack([g.norm() for g in grads if g is not None] or [torch.zeros(())]).norm()
                norms[f"{name}/{term}"] = float(norm)
    with torch.no_grad():
        for buffer, value in buffers.items():
            buffer.copy_(value)
    return norms


def refuse_infinite(losses: Mapping[str, float], step: int, left: str) -> None:
    """Refuse to go on with a term that isn't a number; left: a sentence on the checkpoint to resume from.

    Raises: NotFinite that names the terms.
    """
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    if bad:
        raise NotFinite(
            f"{', '.join(bad)} became {losses[bad[0]]} by step {step}. If it is the teacher's term, look at the "
            f"teacher's answers (tutelage check); else use a smaller lr or clip=1. {left}"
        )


def _device(players: dict[str, nn.Module]) -> torch.device:
    return next(p.device for player in players.values() for p in player.parameters())
