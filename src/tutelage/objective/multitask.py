"""Parts of outputs and targets: one of several label columns.

With K label columns, targets are (B, K), and a response has the columns' logits side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from tutelage.data.multitask_targets import column_slices
from tutelage.errors import ConfigError
from tutelage.losses.base import Loss, LossValues
from tutelage.nn.model_profile import ModelProfile
from tutelage.objective.masking import select_positions
from tutelage.policies.base import SampleWeight, Temperature
from tutelage.utils.dataclass_module import DataclassModule

UNBUILT = (Loss.build, Temperature.build, SampleWeight.build)


def compare_by_column(
    compare: Callable[[Any, Any, dict[str, Any]], LossValues],
    sizes: Sequence[int],
    student: Any,
    teacher: Any,
    loss_kwargs: dict[str, Any],
) -> LossValues:
    """Return the values of `compare` for each of K columns, divided by K: their means add up to the columns' mean.

    sizes: the number of classes of each column; empty if there are no columns. Where targets are required, samples
    without a label in the column are left out; a column without any label has no values.
    """
    if not sizes:
        return compare(student, teacher, loss_kwargs)
    losses: dict[str, Tensor] = {}
    for number, span in enumerate(column_slices(sizes)):
        sides, kwargs = [_cut(student, span), _cut(teacher, span)], dict(loss_kwargs)
        if "teacher_response" in kwargs:
            kwargs["teacher_response"] = _cut(kwargs["teacher_response"], span)
        known = loss_kwargs["targets"][:, number] >= 0 if "targets" in loss_kwargs else None
        some = known is None or bool(known.any())
        if known is not None:
            kwargs["targets"] = loss_kwargs["targets"][:, number].clamp(min=0)
        if known is not None and some:
            kwargs = {name: x[known] if _is_by_sample(x, len(known)) else x for name, x in kwargs.items()}
            sides = [select_positions(side, known) for side in sides]
        result = compare(sides[0], sides[1], kwargs)
        for name, values in result.items() if isinstance(result, Mapping) else [("", result)]:
            losses[f"{number}{name}"] = values / len(sizes) if some else values.flatten()[:0]
    return losses


def refuse_columns(
    loss: Loss, policies: Sequence[DataclassModule], compares: str, teacher: ModelProfile | None, sizes: Sequence[int]
) -> None:
    """Refuse a loss that can't be computed column by column, if there are columns.

    Raises: ConfigError with the reason.
    """
    if not sizes:
        return
    name, parts = type(loss).__name__, (loss, *policies)
    inputs = {name for part in parts for optional in (False, True) for name in part.required_inputs(optional)}
    if (compares != "response" and "targets" in inputs) or "peer_weights" in inputs:
        raise ConfigError(
            f"{name} requires one class of each sample, and this data has several label columns: choose one (column=…)."
        )
    if compares == "response" and not (
        loss.maskable and all(getattr(type(part), "build", None) in UNBUILT for part in parts)
    ):
        raise ConfigError(
            f"{name} compares samples with each other or keeps state for each class, so it can't be computed label "
            "column by label column; use one that compares class by class, such as kd, or a feature loss."
        )
    listed = (
        teacher.member_profiles
        if teacher is not None and compares == "response" and "teacher" in loss.list_inputs
        else []
    )
    if any(member.response.shape[1] != sum(sizes) for member in listed):
        raise ConfigError(
            f"{name} compares with each of several teachers, and here each of them outputs a label column of its own; "
            "use a loss of one response, such as kd: it gets all columns."
        )


def _cut(side: Any, span: slice) -> Any:
    if isinstance(side, list):
        return [x[:, span] for x in side]
    return None if side is None else side[:, span]


def _is_by_sample(value: Any, samples: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == samples
