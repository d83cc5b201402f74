"""How a published method's names map to ours: one row a method, no cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from tutelage.losses.base import Loss
from tutelage.verify.vector import Vector


@dataclass(frozen=True)
class Reference:
    """The names of one published method.

    loss: ours; empty for the method's own name. fields: hyper-parameter → our field, where they differ (the task's
    loss's label smoothing is there unless others are named). options: our
    fields that choose the published code's behaviour, or a function of the vector that gives them. samples: the
    hyper-parameter that says how many samples there are, or a function of the vector that does.
    asks: input → our forward's keyword, where they differ (`target` is `targets` anyway). state: patterns of the names
    of weights and buffers → ours, or a function of the vector that gives them. before: what the loss meets first.
    student, teacher: the inputs on either side (a name, or names to take as a list).
    sides: the form in which ours takes either side; teacher_sides: the teacher's, if it is another.
    connector: ours, if the published code has one; its options by name. scale: what the published reduction multiplies
    our mean by. combine: for a published total of several of our losses (a list of (weight, row)). added: what the
    total has beside, given ready-made. derive: the vector with what its models say, of which it gives the weights.
    stand_ins: what a learned part of ours gives, where the vector has that and not the part's weights.
    describes: hyper-parameters and inputs that change nothing, since they only describe the others, or what published
    code computes beside the loss; any other that no row asks for is a fault.
    """

    loss: str = ""
    fields: Mapping[str, str] = field(default_factory=lambda: {"label_smoothing": "smoothing"})
    options: Mapping[str, Any] | Callable[[Vector], Mapping[str, Any]] = field(default_factory=dict)
    samples: str | Callable[[Vector], int] = ""
    renames: Mapping[str, str] = field(default_factory=dict)
    state: Mapping[str, str] | Callable[[Vector], Mapping[str, str]] = field(default_factory=dict)
    before: Callable[[Vector, Loss], Any] = lambda vector, loss: None
    student: str = ""
    teacher: str = ""
    connector: str | Callable[[Vector], Any] = ""
    together: bool = False
    sides: Callable[[list[Tensor]], Any] = lambda tensors: tensors
    teacher_sides: Callable[[list[Tensor]], Any] | None = None
    scale: Callable[[Vector], float] = lambda vector: 1.0
    reduce: Callable[[Tensor], Tensor] = lambda values: values.mean()
    combine: Callable[[Vector], list[tuple[float, Reference]]] | None = None
    prepare: Callable[[Vector, dict[str, Any]], dict[str, Any]] = lambda vector, loss_kwargs: loss_kwargs
    added: Callable[[Vector], Tensor | float] = lambda vector: 0.0
    derive: Callable[[Vector], Vector] | None = None
    stand_ins: Mapping[str, Callable[[Vector], Callable[..., Tensor]]] = field(default_factory=dict)
    describes: tuple[str, ...] = ()
