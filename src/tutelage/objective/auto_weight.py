"""Weights that travel: a term's share of the gradient, as its published weight has it in the literature's protocol."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

from tutelage.losses.base import Loss
from tutelage.policies.weight.gradient_ratio import GradientRatio
from tutelage.utils.registry import catalogue_name

PROTOCOL_STEPS = 187_680
"""The steps of the literature's protocol: 240 epochs of 50,000 images in batches of 64."""
POWER = 1 / 3
"""The power of a training's length, in that of the protocol, that scales the shares."""


@cache
def gradient_shares() -> dict[str, float]:
    """Return, by loss, the ratio of its weighted gradient's norm to the task loss's in the literature's protocol."""
    file = resources.files("tutelage.objective").joinpath("gradient_shares.json")
    return {str(name): float(share) for name, share in json.loads(file.read_text(encoding="utf-8")).items()}


def auto_weight(loss: Loss, steps: int) -> float | GradientRatio:
    """Return a weight that gives the term its paper's share of the gradient, for a training of so many steps.

    w(t) = r · ‖∇L_task‖ / ‖∇L‖ by `GradientRatio`, r = min(share, 1) · min(steps / 187,680, 1)^⅓, with the share that
    was measured with the published weight in the literature's protocol. A published weight belongs to the sizes of the
    networks, images and batches for which it was chosen, and to 240 epochs, in which a student recovers from terms that
    outweigh the labels; in short trainings it doesn't, so r falls with their length. The power is ours, chosen on the
    embedded digits. A loss without a measured share, such as one of logits, keeps its published weight.
    """
    share = gradient_shares().get(catalogue_name(type(loss)))
    if share is None:
        return loss.default_weight
    return GradientRatio(float(f"{min(share, 1.0) * min(steps / PROTOCOL_STEPS, 1.0) ** POWER:.3g}"))
