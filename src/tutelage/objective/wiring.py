"""The wiring of a term: the layers that it compares, and checks of the inputs that its loss requires."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Dense, Loss
from tutelage.nn import connectors
from tutelage.nn.maps import average_positions
from tutelage.nn.model_profile import ModelProfile
from tutelage.objective import multitask
from tutelage.objective.pairing import RequestedLayers, describe_layer, pair_layers
from tutelage.policies.base import SampleWeight, Temperature
from tutelage.structures import Batch, Outputs
from tutelage.utils.dataclass_module import DataclassModule

Policies = Sequence[Temperature | SampleWeight]
"""A term's policies of its temperature and of its sample weights."""


@dataclass(frozen=True)
class WiringRequest:
    """A request for a term's wiring: the kind of outputs, the layers by side, and a connector.

    layers: an empty side leaves the choice to the wiring.
    """

    compares: str
    layers: RequestedLayers
    connector: str | connectors.ConnectorFactory


@dataclass(frozen=True)
class Wiring:
    """The layers that a term compares, and the form of their features.

    compares: the kind of outputs, as in `Loss.compares`. feature_format: the form in which features reach the loss.
    student_layers, teacher_layers: the layers to capture, in pairs. pairs: their descriptions, with shapes. columns:
    the number of classes of each label column.
    """

    compares: str
    connector: str | connectors.ConnectorFactory = ""
    feature_format: str = ""
    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    columns: tuple[int, ...] = ()

    def to_loss_format(self, feature: Tensor) -> Tensor:
        """Return a feature in the form in which it reaches the loss."""
        if self.feature_format == "map":
            return connectors.as_map(feature)
        return connectors.as_vector(feature) if self.feature_format == "vector" else feature

    def to_vector(self, feature: Tensor) -> Tensor:
        """Return a feature that is in the loss's form averaged over positions, (B, C)."""
        is_map = self.feature_format == "map" and feature.dim() > 2
        return average_positions(feature) if is_map else connectors.as_vector(feature)


def _refuse_fewer_classes(loss: Loss, response: Tensor) -> None:
    """Refuse a loss for fewer classes than the student predicts: it would leave out the others.

    Raises: ConfigError.
    """
    known = getattr(loss, "num_classes", None)
    if known is not None and known < response.shape[1]:
        raise ConfigError(f"num_classes={known}, and the student predicts {response.shape[1]} classes: set as many.")


def wire(
    loss: Loss,
    policies: Policies,
    request: WiringRequest,
    student: ModelProfile,
    teacher: ModelProfile | None,
    batch: Batch,
    provides: Iterable[str] = (),
) -> Wiring:
    """Choose what a loss compares in two models.

    provides: the inputs that the scheme adds to each batch. A loss of responses compares layers if some are requested,
    a dense one the last maps if responses have no positions.
    Raises: ConfigError if the loss or a policy can't be computed from these models and this batch; ModelError for a
    layer that isn't there.
    """
    refuse_other_classes(loss, teacher)
    _refuse_fewer_classes(loss, student.response)
    refuse_missing(loss, policies, student, teacher, batch, provides)
    compares, connector = request.compares, request.connector
    without_positions = isinstance(loss, Dense) and student.response.dim() == 2
    if teacher is not None and compares == "response" and (any(request.layers.values()) or without_positions):
        compares, connector = "last", connector or "conv1x1"
    if teacher is None and compares != "response":
        raise ConfigError(
            f"{type(loss).__name__} compares layers, which are paired with a teacher's, and there is no teacher: name "
            "one (teacher=…), or use a loss of responses."
        )
    multitask.refuse_columns(loss, policies, compares, teacher, batch.columns)
    if teacher is not None and compares == "response":
        _refuse_other_shapes(loss, student.response, teacher.response)
    _refuse_policies(loss, policies, compares, teacher)
    if teacher is None or compares == "response":
        return Wiring(compares, connector, columns=batch.columns)
    return _wire_layers(loss, WiringRequest(compares, request.layers, connector), student, teacher, batch.columns)


def _wire_layers(
    loss: Loss, request: WiringRequest, student: ModelProfile, teacher: ModelProfile, columns: tuple[int, ...]
) -> Wiring:
    """Pair the layers, and name the form in which their tokens are to be captured.

    Raises: ConfigError if the loss can't compare maps of their numbers of dimensions.
    """
    own_kind = request.compares == loss.compares
    flattened = loss.flattens and any(request.layers.values())
    feature_format = "" if loss.feature_format == "vector" and (flattened or not own_kind) else loss.feature_format
    if feature_format == "map" or not own_kind:
        form = "map"
    else:
        form = "patches" if feature_format == "vector" or request.connector == "linear" else ""
    pairs = [
        (student.name_with_form(s, form), teacher.name_with_form(t, form))
        for s, t in pair_layers(loss, request.compares, request.layers, student, teacher)
    ]
    if form == "map":
        refuse_dimensions(loss, [(student.feature(s), teacher.feature(t)) for s, t in pairs])
    return Wiring(
        request.compares,
        request.connector,
        feature_format,
        tuple(s for s, _ in pairs),
        tuple(t for _, t in pairs),
        tuple((describe_layer(student, s), describe_layer(teacher, t)) for s, t in pairs),
        columns,
    )


def refuse_dimensions(loss: Loss, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Refuse maps of a number of dimensions that a loss isn't for, and pairs of different numbers.

    Raises: ConfigError that names the shapes.
    """
    name, known = type(loss).__name__, " or ".join(map(str, loss.map_dimensions))
    for student, teacher in pairs:
        shapes = f"{connectors.format_shape(student)} and the teacher's {connectors.format_shape(teacher)}"
        if student.dim() != teacher.dim() and min(student.dim(), teacher.dim()) > 2:
            raise ConfigError(
                f"{name} compares maps position by position: the student's {shapes} have different numbers of "
                "dimensions; use a loss of vectors, such as rkd, crd or pad, which averages over positions."
            )
        if student.dim() > 2 and student.dim() - 2 not in loss.map_dimensions:
            raise ConfigError(
                f"{name} compares maps of {known} dimensions, and the student's {shapes} have {student.dim() - 2}; "
                "use another loss, such as fitnet or at."
            )


TEACHER_OUTPUTS = "teacher outputs"
OUTPUT_LISTS = {"student": "a list of student outputs", "teacher": "a list of teacher outputs"}
"""Requirements of a loss in addition to the inputs that its forward names."""

REMEDIES = {TEACHER_OUTPUTS: "Name a teacher (teacher=…)."} | dict.fromkeys(
    OUTPUT_LISTS.values(),
    "Such a list has the outputs of peers, exits, views or several teachers: name several teachers (teacher=[a, b]), "
    "or a scheme that makes it.",
)


def requirements(loss: Loss, policies: Policies = ()) -> list[str]:
    """Return the inputs that a loss with its policies requires of the batch and the two models."""
    parts: tuple[DataclassModule, ...] = (loss, *policies)
    return [
        *([TEACHER_OUTPUTS] if loss.needs_teacher else []),
        *(OUTPUT_LISTS[side] for side in loss.list_inputs),
        *dict.fromkeys(name for part in parts for name in part.required_inputs()),
    ]


def provided_inputs(
    student: ModelProfile, teacher: ModelProfile | None, batch: Batch, provides: Iterable[str] = ()
) -> list[str]:
    """Return the inputs that the batch, the two models and the scheme provide, named as in `requirements`."""
    inputs = available_inputs(batch, student, teacher)
    sides = {"student": student, "teacher": teacher}
    return [
        *([] if teacher is None else [TEACHER_OUTPUTS]),
        *(OUTPUT_LISTS[side] for side, profile in sides.items() if profile is not None and profile.member_profiles),
        *inputs,
        *(["teacher_head_logits"] if "heads" in inputs else []),
        *provides,
    ]


def refuse_missing(
    loss: Loss,
    policies: Policies,
    student: ModelProfile,
    teacher: ModelProfile | None,
    batch: Batch,
    provides: Iterable[str] = (),
) -> None:
    """Refuse a loss that requires inputs that neither the batch, nor the two models, nor the scheme provide.

    Raises: ConfigError that lists the missing inputs.
    """
    available = provided_inputs(student, teacher, batch, provides)
    missing = [requirement for requirement in requirements(loss, policies) if requirement not in available]
    if missing:
        remedies = dict.fromkeys(REMEDIES[requirement] for requirement in missing if requirement in REMEDIES)
        raise ConfigError(
            " ".join([
                f"{type(loss).__name__} requires {', '.join(missing)}; the batch and the teacher provide "
                f"{', '.join(available)}.",
                *remedies,
            ])
        )  # fmt: skip


def available_inputs(
    batch: Batch, student: ModelProfile | Outputs, teacher: ModelProfile | Outputs | None
) -> dict[str, Any]:
    """Return the inputs that a loss may require by keyword: the batch's, and the two models' metadata."""
    metadata = {f"student_{name}": value for name, value in student.metadata.items()}
    if teacher is None:
        return batch.available() | metadata
    return batch.available() | metadata | {"teacher_response": teacher.response, **teacher.metadata}


def refuse_other_classes(loss: Loss, teacher: ModelProfile | None) -> None:
    """Refuse to compare with several teachers class by class if they know different classes.

    Raises: ConfigError that names losses that can.
    """
    if (
        teacher is not None
        and "columns" in teacher.metadata
        and "teacher" in loss.list_inputs
        and loss.class_dim is not None
        and "columns" not in loss.required_inputs(optional=True)
    ):
        raise ConfigError(
            f"{type(loss).__name__} compares with several teachers class by class, and these know different classes; "
            "use uhc, or kd with their joined response."
        )


def _refuse_other_shapes(loss: Loss, student: Tensor, teacher: Tensor) -> None:
    """Refuse responses without classes, or with different numbers of classes."""
    if min(student.dim(), teacher.dim()) < 2:
        raise ConfigError(
            f"the student outputs {tuple(student.shape)} and the teacher {tuple(teacher.shape)}: expected a value "
            "for each class of each sample."
        )
    dim = loss.class_dim
    if dim is not None and loss.needs_teacher and student.shape[dim] != teacher.shape[dim]:
        raise ConfigError(
            f"{type(loss).__name__} compares class by class, but the student outputs {student.shape[dim]} classes and "
            f"the teacher {teacher.shape[dim]}; use a teacher of the same classes or a feature loss."
        )


def _refuse_policies(loss: Loss, policies: Policies, compares: str, teacher: ModelProfile | None) -> None:
    """Refuse policies that have no logits of two models to work on."""
    if not policies:
        return
    name = type(loss).__name__
    if compares != "response" or loss.class_dim not in (1, None) or loss.list_inputs:
        raise ConfigError(f"{name} compares no logits (B, C, …): temperature= and samples= policies need such.")
    softens = any(isinstance(policy, Temperature) for policy in policies)
    if teacher is None or (softens and not loss.needs_teacher):
        raise ConfigError(f"{name} has a policy that compares with a teacher, and there is none.")


def repeat_inputs(values: Mapping[str, Any], samples: int, rows: int, times_over: int) -> dict[str, Any]:
    """Return a batch's inputs for its first rows, repeated."""
    return {
        name: torch.cat([value[:rows]] * times_over) if isinstance(value, Tensor) and len(value) == samples else value
        for name, value in values.items()
    }
