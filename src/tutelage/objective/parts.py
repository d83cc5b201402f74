"""Terms of a named part of the outputs, of models that return a mapping of tensors."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.nn import connectors
from tutelage.nn.model_profile import ModelProfile
from tutelage.objective.pairing import RequestedLayers
from tutelage.objective.wiring import Wiring
from tutelage.structures import PART, Batch, Outputs


def kind_of_part(loss: Loss, part: str, layers: RequestedLayers) -> str:
    """Return the kind of outputs that a loss of a part compares; layers: those that the term names.

    Raises: ConfigError for a loss of layers or lists, or if layers are named.
    """
    if loss.compares not in ("response", "embedding") or loss.list_inputs:
        raise ConfigError(
            f"part={part}: {type(loss).__name__} compares layers or several models: use a loss of responses, or of "
            "embeddings such as rkd."
        )
    if any(layers.values()):
        raise ConfigError(f"part={part}: a term compares a part of the outputs or layers: leave one of them out.")
    return "response"


def profiles_of_part(
    loss: Loss, part: str, student: ModelProfile, teacher: ModelProfile | None
) -> tuple[ModelProfile, ModelProfile | None]:
    """Return the profiles with the part in place of the response.

    Raises: ModelError if an output has no such part; ConfigError if the loss can't compare the two.
    """
    x = student.feature(PART + part)
    if teacher is None:
        return replace(student, response=x), None
    z = teacher.feature(PART + part)
    if loss.compares == "response" and loss.needs_teacher and x.shape != z.shape:
        raise ConfigError(
            f"{type(loss).__name__} compares number by number, and the part {part!r} is {tuple(x.shape[1:])} of the "
            f"student and {tuple(z.shape[1:])} of the teacher: use a loss of embeddings such as rkd, or models whose "
            "parts agree."
        )
    return replace(student, response=x), replace(teacher, response=z)


def batch_of_part(loss: Loss, part: str, student: ModelProfile, batch: Batch) -> Batch:
    """Return the batch for a loss of a part; its targets are those that the student's model returns for the part.

    Raises: ConfigError if the loss can't compare them at the places that have a target alone.
    """
    if part not in student.metadata.get("part_targets", ()):
        return replace(batch, columns=())
    if "targets" in loss.required_inputs() and not loss.maskable:
        raise ConfigError(
            f"part={part}: it has targets at some places alone, and {type(loss).__name__} compares whole outputs: use "
            "teacher_bounded_regression, huber, mse or mae."
        )
    return replace(batch, columns=(), targets=torch.zeros_like(student.response))


def targets_of(part: str, student: Outputs) -> Tensor | None:
    """Return the targets (B, D, N) of a part that the student's model returned, NaN where there is none; or None."""
    targets = student.metadata.get("part_targets", {}).get(part)
    return None if targets is None else targets[: len(student.response)]


def with_part(
    wiring: Wiring, part: str, student: ModelProfile | None = None, teacher: ModelProfile | None = None
) -> Wiring:
    """Return the wiring of responses that compares a part in their place; student, teacher: their profiles of it.

    Raises: ConfigError if the wiring is of layers, because the part has no positions.
    """
    if wiring.compares != "response":
        raise ConfigError(f"part={part}: it has no positions, and the loss compares these: use a loss of responses.")
    sides = [] if student is None else [student, student if teacher is None else teacher]
    shapes = [f"part {part} {connectors.format_shape(side.response)}" for side in sides]
    pairs = ((shapes[0], shapes[1]),) if shapes else ()
    return replace(wiring, student_layers=(PART + part,), teacher_layers=(PART + part,), pairs=pairs)
