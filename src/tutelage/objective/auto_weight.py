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
DIRECT_POWER, LEARNED_POWER = 1 / 6, 1 / 3
"""The powers of a training's length, in that of the protocol, that scale the shares of direct losses and of others."""


@cache
def gradient_shares() -> dict[str, float]:
    """Return, by loss, the ratio of its weighted gradient's norm to the task loss's in the literature's protocol."""
    file = resources.files("tutelage.objective").joinpath("gradient_shares.json")
    return {str(name): float(share) for name, share in json.loads(file.read_text(encoding="utf-8")).items()}


def auto_weight(loss: Loss, steps: int) -> float | GradientRatio:
    """Return a weight that gives the term its paper's share of the gradient, for a training of so many steps.

    w(t) = r · ‖∇L_task‖ / ‖∇L‖ by `GradientRatio`, r = min(share, 1) · min(steps / 187,680, 1)^p, with the share that
    was measured with the published weight in the literature's protocol. A published weight belongs to the sizes of the
    networks, images and batches for which it was chosen, and to 240 epochs, in which a student recovers from terms that
    outweigh the labels; in short trainings it doesn't, so r falls with their length. It falls slowly, p = 1/6, for a
    loss that compares relations or maps as both networks have them, and p = 1/3 for one that learns a connector, with
    which a small student has to give each of the teacher's channels. The powers are ours, chosen on the embedded digits
    and 2,000 images of Fashion-MNIST. A loss without a measured share, such as one of logits, keeps its published
    weight.
    """
    share = gradient_shares().get(catalogue_name(type(loss)))
    if share is None:
        return loss.default_weight
    power = DIRECT_POWER if _is_direct(loss) else LEARNED_POWER
    return GradientRatio(float(f"{min(share, 1.0) * min(steps / PROTOCOL_STEPS, 1.0) ** power:.3g}"))


def _is_direct(loss: Loss) -> bool:
    """Return whether a loss of layers learns nothing that lies between the student's features and the teacher's."""
    return loss.compares != "response" and not loss.connector and type(loss).build is Loss.build
