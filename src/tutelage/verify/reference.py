"""The mapping of a published method's names to the catalogue's: one reference per method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from tutelage.losses.base import Loss
from tutelage.verify.vector import Vector


@dataclass(frozen=True)
class Reference:
    """One line of the reference table: how a published method's vector is computed with the catalogue's losses.

    Args:
        loss: the catalogue's loss; empty for the method's own name.
        fields: hyper-parameter → field of the loss, where they differ. By default it maps the label smoothing of the
            task loss.
        options: fields that select the published code's behaviour, or a function of the vector that returns them.
        samples: the hyper-parameter with the number of samples, or a function of the vector that returns it.
        renames: input or hyper-parameter → keyword of the loss's forward, where they differ (`target` always becomes
            `targets`).
        state: patterns of the published names of weights and buffers → state-dict keys, or a function of the vector
            that returns them.
        prepare_loss: called with the vector and the loss before the loss is computed.
        student: names of the student's inputs, separated by spaces; by default its features, or else its logits.
        teacher: the same for the teacher.
        connector: a connector's name, or a function of the vector that returns one, if the published code has one.
        one_call: whether the loss gets all inputs of a side in one call, not one pair after the other.
        convert_side: converts a side's list of tensors to the form that the loss takes.
        convert_teacher_side: the same for the teacher's side; by default `convert_side`.
        scale: the factor between the catalogue's reduced loss and the published one.
        reduce: the reduction of the loss's values, by default the mean.
        combine: for a published sum of several losses, returns them as (weight, reference).
        prepare_inputs: changes the loss's keyword arguments.
        extra_loss: a value that the published total contains and the vector provides.
        derive: returns the vector with further inputs, such as the outputs of models whose weights it provides.
        stand_ins: functions that replace learned parts of the loss, if the vector has their outputs, not their weights.
        ignored: hyper-parameters and inputs that don't change the loss, since they only describe others or something
            else that the published code computes; any other name that no reference uses is a fault.
    """

    loss: str = ""
    fields: Mapping[str, str] = field(default_factory=lambda: {"label_smoothing": "smoothing"})
    options: Mapping[str, Any] | Callable[[Vector], Mapping[str, Any]] = field(default_factory=dict)
    samples: str | Callable[[Vector], int] = ""
    renames: Mapping[str, str] = field(default_factory=dict)
    state: Mapping[str, str] | Callable[[Vector], Mapping[str, str]] = field(default_factory=dict)
    prepare_loss: Callable[[Vector, Loss], Any] = lambda vector, loss: None
    student: str = ""
    teacher: str = ""
    connector: str | Callable[[Vector], Any] = ""
    one_call: bool = False
    convert_side: Callable[[list[Tensor]], Any] = lambda tensors: tensors
    convert_teacher_side: Callable[[list[Tensor]], Any] | None = None
    scale: Callable[[Vector], float] = lambda vector: 1.0
    reduce: Callable[[Tensor], Tensor] = lambda values: values.mean()
    combine: Callable[[Vector], list[tuple[float, Reference]]] | None = None
    prepare_inputs: Callable[[Vector, dict[str, Any]], dict[str, Any]] = lambda vector, loss_kwargs: loss_kwargs
    extra_loss: Callable[[Vector], Tensor | float] = lambda vector: 0.0
    derive: Callable[[Vector], Vector] | None = None
    stand_ins: Mapping[str, Callable[[Vector], Callable[..., Tensor]]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
