"""Parts of what was said: one of several label columns, or some positions.

Of data with K label columns the targets are (B, K), and a response has each column's logits side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from tutelage.data.multitask_targets import spans
from tutelage.errors import ConfigError
from tutelage.losses.base import Loss, Losses
from tutelage.nn.model_profile import ModelProfile
from tutelage.policies.base import SampleWeight, Temperature
from tutelage.utils.dataclass_module import DataclassModule

UNBUILT = (Loss.build, Temperature.build, SampleWeight.build)


def by_column(
    compare: Callable[[Any, Any, dict[str, Any]], Losses],
    sizes: Sequence[int],
    student: Any,
    teacher: Any,
    loss_kwargs: dict[str, Any],
) -> Losses:
    """What `compare` says of each of K columns, over K: their means add up to the mean over the columns.

    sizes: how many classes each has; none: there are no columns, and it says one thing. Where targets are asked for,
    samples without a label in the column are left out; a column in which none has one has no values.
    """
    if not sizes:
        return compare(student, teacher, loss_kwargs)
    found: dict[str, Tensor] = {}
    for number, span in enumerate(spans(sizes)):
        sides, these = [_cut(student, span), _cut(teacher, span)], dict(loss_kwargs)
        if "teacher_response" in these:
            these["teacher_response"] = _cut(these["teacher_response"], span)
        known = loss_kwargs["targets"][:, number] >= 0 if "targets" in loss_kwargs else None
        some = known is None or bool(known.any())
        if known is not None:
            these["targets"] = loss_kwargs["targets"][:, number].clamp(min=0)
        if known is not None and some:
            these = {name: x[known] if _is_by_sample(x, len(known)) else x for name, x in these.items()}
            sides = [rows(side, known) for side in sides]
        student_outputs = compare(sides[0], sides[1], these)
        for name, values in (
            student_outputs.items() if isinstance(student_outputs, Mapping) else [("", student_outputs)]
        ):
            found[f"{number}{name}"] = values / len(sizes) if some else values.flatten()[:0]
    return found


def refuse(
    loss: Loss, policies: Sequence[DataclassModule], sees: str, teacher: ModelProfile | None, sizes: Sequence[int]
) -> None:
    """Refuse a loss that can't be taken column by column, if there are columns.

    Raises: ConfigError that says why.
    """
    if not sizes:
        return
    name, parts = type(loss).__name__, (loss, *policies)
    asks = {ask for part in parts for optional in (False, True) for ask in part.required_inputs(optional)}
    if (sees != "response" and "targets" in asks) or "peer_weights" in asks:
        raise ConfigError(f"{name} asks for one class of each sample, and here are several label columns (column=…).")
    if sees == "response" and not (
        loss.maskable and all(getattr(type(part), "build", None) in UNBUILT for part in parts)
    ):
        raise ConfigError(
            f"{name} compares samples with each other or keeps something of each class, and can't be taken label "
            "column by label column; use one that compares class by class, such as kd, or one of features."
        )
    listed = teacher.members if teacher is not None and sees == "response" and "teacher" in loss.list_inputs else []
    if any(member.response.shape[1] != sum(sizes) for member in listed):
        raise ConfigError(
            f"{name} compares with each of several teachers, and here each of them answers a label column of its own; "
            "use a loss of one answer, such as kd: it gets all columns."
        )


def rows(value: Any, mask: Tensor) -> Any:
    """Only the positions in the mask, as rows (N, C) of logits (B, C, …) and (N,) of what there is by position."""
    if isinstance(value, list):
        return [rows(x, mask) for x in value]
    if isinstance(value, Mapping):
        return {k: v[mask] if isinstance(v, Tensor) and v.shape == mask.shape else v for k, v in value.items()}
    return None if value is None else value.movedim(1, -1)[mask]


def _cut(side: Any, span: slice) -> Any:
    if isinstance(side, list):
        return [x[:, span] for x in side]
    return None if side is None else side[:, span]


def _is_by_sample(value: Any, samples: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == samples
