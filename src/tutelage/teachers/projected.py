"""A teacher whose features are projected to fewer channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.nn.model_profile import ModelProfile
from tutelage.nn.token_grid import split_layer_name
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher, TeacherWrapper
from tutelage.utils.options import Width


class Projected(TeacherWrapper):
    r"""Another teacher, whose features with more than `width` channels are projected to `width` channels.

    x' = √(C/width)·Qᵀx at each position, Q (C, width) with orthonormal columns: fixed, random, the same in every run.
    Inner products and distances are preserved on average, with an error that falls as 1/√width, and a cache of the
    features is C/width times smaller. Losses that require the teacher's own classifier can't be used: its input is all
    channels.

    Args:
        teacher: the wrapped teacher.
        width: the maximum number of channels.
    Paper: Johnson, Lindenstrauss. Contemporary Mathematics 26, 1984.
    Raises: ConfigError if the width isn't above 0, or the teacher changes in training.
    """

    def __init__(self, teacher: Teacher, width: Width) -> None:
        super().__init__(teacher)
        if teacher.changes_in_training():
            raise ConfigError(
                f"{type(teacher).__name__} changes in training, so its features can't be projected; remove "
                "teacher_width."
            )
        self.width = width
        self.is_series: Callable[[str], bool] = lambda layer: False

    @property
    def metadata(self) -> dict[str, Any]:
        """The wrapped teacher's metadata, without its classifier."""
        return _without_heads(super().metadata)

    @torch.no_grad()
    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """Return the response, and the projected features."""
        return self._project_outputs(self.teacher(batch, layers))

    def _project_outputs(self, teacher_outputs: Outputs, prefix: str = "") -> Outputs:
        features = {
            layer: project_feature(x, self.width, _is_series_map(self.is_series, f"{prefix}{layer}", x))
            for layer, x in teacher_outputs.features.items()
        }
        return Outputs(
            teacher_outputs.response,
            features,
            _without_heads(teacher_outputs.metadata),
            [self._project_outputs(x, f"{prefix}{m}.") for m, x in enumerate(teacher_outputs.member_outputs)],
        )

    def profile(self, batch: Batch) -> ModelProfile:
        """Return the wrapped teacher's profile, with its features projected and without its classifier."""
        profile = self.teacher.profile(batch)
        self.is_series = profile.is_series
        return project_profile(profile, self.width)

    def identity(self) -> dict[str, Any] | None:
        """Return the wrapped teacher's identity, and the width."""
        identity = self.teacher.identity()
        return None if identity is None else {"teacher": identity, "width": self.width}


def project_profile(profile: ModelProfile, width: int) -> ModelProfile:
    """Return the profile with its features projected and without its classifier."""

    def feature(layer: str) -> Tensor:
        x = profile.feature(layer)
        return project_feature(x, width, _is_series_map(profile.is_series, layer, x))

    return replace(
        profile,
        metadata=_without_heads(profile.metadata),
        feature=feature,
        member_profiles=[project_profile(member, width) for member in profile.member_profiles],
    )


def _without_heads(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata without the classifiers, whose input is the unprojected features."""
    return {name: value for name, value in metadata.items() if name not in ("head", "heads")}


def _is_series_map(is_series: Callable[[str], bool], layer: str, feature: Tensor) -> bool:
    """Return whether the feature is the map of a series, and not its positions as tokens."""
    return feature.dim() == 3 and split_layer_name(layer)[1] != "patches" and is_series(layer)


def project_feature(feature: Tensor, width: int, is_series: bool = False) -> Tensor:
    """Project a map (B, C, …), tokens (B, N, C) or vectors (B, C) to at most `width` channels.

    is_series: whether a feature of three dimensions is the map (B, C, T) of a series.
    """
    dim = 2 if feature.dim() == 3 and not is_series else 1
    channels = feature.shape[dim]
    if channels <= width:
        return feature
    normal = torch.randn(channels, width, generator=torch.Generator().manual_seed(channels), dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    q = q * r.diagonal().sign() * (channels / width) ** 0.5
    return (feature.movedim(dim, -1) @ q.to(feature)).movedim(-1, dim)
