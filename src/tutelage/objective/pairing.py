"""The choice of the student's and the teacher's layers that a loss compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tutelage.errors import ConfigError, ModelError, unknown
from tutelage.losses.base import Loss
from tutelage.nn.model_profile import ModelProfile, pair_stages
from tutelage.nn.stages import LayerInfo
from tutelage.nn.token_grid import module_name
from tutelage.utils.options import Layers

RequestedLayers = Mapping[str, Sequence[str]]
"""The layers that a term's options name, by side ("student", "teacher"); none: those that fit."""


def layer_list(layers: Layers) -> list[str]:
    """Return the layers that an option names; none for "auto"."""
    return [] if layers == "auto" else [layers] if isinstance(layers, str) else list(layers)


def pair_layers(
    loss: Loss, compares: str, requested: RequestedLayers, student: ModelProfile, teacher: ModelProfile
) -> list[tuple[str, str]]:
    """Return the requested pairs of layers, or those that fit what the loss compares.

    Raises: ConfigError if the sides don't have as many as each other; ModelError for a layer that isn't there.
    """
    auto = _fitting(loss, compares, requested, student, teacher)
    student_names, teacher_names = (
        requested["student"] or [s for s, _ in auto],
        requested["teacher"] or [t for _, t in auto],
    )
    if len(student_names) != len(teacher_names):
        raise ConfigError(
            f"{type(loss).__name__}: {len(student_names)} student layers ({', '.join(student_names)}) and "
            f"{len(teacher_names)} teacher layers ({', '.join(teacher_names)}); name as many on both sides."
        )
    return list(zip(student_names, teacher_names, strict=True))


def _fitting(
    loss: Loss, compares: str, requested: RequestedLayers, student: ModelProfile, teacher: ModelProfile
) -> list[tuple[str, str]]:
    if requested["student"] and requested["teacher"]:
        return []
    if "teacher" in loss.list_inputs:
        few = None if loss.all_stages else 1  # deep ones first, which all have
        each = zip(
            *(pair_stages(student.stages, member.stages)[::-1][:few] for member in teacher.member_profiles),
            strict=False,
        )
        return [
            (student_names.name, f"{m}.{teacher_names.name}")
            for pairs in each
            for m, (student_names, teacher_names) in enumerate(pairs)
        ]
    if compares == "embedding":
        return [(student.embedding, teacher.embedding)]
    ends = [
        _named(profile, requested[side]) or profile.stages
        for side, profile in (("student", student), ("teacher", teacher))
    ]
    pairs = [(s.name, t.name) for s, t in pair_stages(*ends)]
    if any(requested.values()) or compares in ("stages", "review"):
        return pairs
    return [pairs[-1] if compares == "last" else pairs[len(pairs) // 2]]


def _named(profile: ModelProfile, names: Sequence[str]) -> list[LayerInfo]:
    known = {layer.name: layer for layer in profile.layers}
    return [known.get(name) or known.get(module_name(name)) or _missing(name, known) for name in names]


def _missing(name: str, known: Mapping[str, LayerInfo]) -> LayerInfo:
    raise ModelError(unknown("layer", name, known))


def describe_layer(profile: ModelProfile, name: str) -> str:
    """Return a layer with its shape."""
    return str(next((layer for layer in profile.layers if layer.name == name), name))
