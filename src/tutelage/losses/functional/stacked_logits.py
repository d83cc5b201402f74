"""What losses of several teachers or peers share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.functional.divergence import softened_kl

Several = Tensor | Sequence[Tensor]
"""Several answers of (B, C, …) each: stacked, (M, B, C, …), or a list of M."""


def stacked(answers: Several, least: int = 1) -> Tensor:
    """(M, B, C, …).

    Raises: ConfigError if there are fewer than `least`, or they differ in shape.
    """
    shapes = {tuple(x.shape) for x in answers}
    if len(answers) < least or len(shapes) != 1 or len(next(iter(shapes))) < 2:
        raise ConfigError(
            f"{len(answers)} answers came, of {', '.join(map(str, sorted(shapes))) or 'no'} shape, expected at least "
            f"{least}, all (B, C, …): a list of them, or one stacked tensor (M, B, C, …)."
        )
    return answers if isinstance(answers, Tensor) else torch.stack(list(answers))


def softened_kls(student: Tensor, teacher: Tensor, temperature: float, eps: float = 0.0) -> Tensor:
    """T² · KL(softmax(t/T) + ε ‖ softmax(s/T)), (M, B, …), of several on one side or both, (M, B, C, …).

    Raises: ConfigError if what is compared differs in shape.
    """
    one, many = sorted((student, teacher), key=Tensor.dim)
    if many.shape[-one.dim() :] != one.shape:
        raise ConfigError(
            f"the student's tensor is {tuple(student.shape)} and the teacher's is {tuple(teacher.shape)}, expected "
            "(B, C, …) on one side and M of those, stacked, on the other; let all answer for the same classes."
        )
    flat = [x.expand(many.shape).flatten(0, 1) for x in (student, teacher)]
    return softened_kl(flat[0], flat[1], temperature, eps).unflatten(0, many.shape[:2])


def every_ce(answers: Tensor, targets: Tensor) -> Tensor:
    """CE(z_m, y) of (M, B, C, …), (M, B, …)."""
    return torch.stack([F.cross_entropy(z, targets, reduction="none") for z in answers])


def confidences(answers: Tensor, targets: Tensor) -> Tensor:
    """(1 − softmax_m CE(z_m, y)) / (M − 1) of (M, B, C, …): it sums to 1 over the M; of a single one it is 1."""
    errors = every_ce(answers, targets)
    return (1 - errors.softmax(0)) / (len(errors) - 1) if len(errors) > 1 else torch.ones_like(errors)
