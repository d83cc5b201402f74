"""A teacher whose features have fewer channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.nn.model_profile import ModelProfile
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher, TeacherWrapper
from tutelage.utils.options import Width


class Projected(TeacherWrapper):
    r"""Another teacher, with the features of more than `width` channels projected to so many.

    x' = √(C/width)·Qᵀx at each position, Q (C, width) with orthonormal columns: fixed, random, the same in every run.
    Inner products and distances are kept on the average, with an error that falls as 1/√width, and a cache of the
    features is C/width times smaller. Losses that want the teacher's own classifier can't be used: it reads all
    channels.

    Paper: Johnson, Lindenstrauss. Contemporary Mathematics 26, 1984.
    Raises: ConfigError if the width isn't above 0, or the teacher changes in training.
    """

    def __init__(self, teacher: Teacher, width: Width) -> None:
        super().__init__(teacher)
        if teacher.changes():
            raise ConfigError(f"{type(teacher).__name__} changes in training, so its features aren't projected.")
        self.width = width

    @property
    def metadata(self) -> dict[str, Any]:
        """The teacher's, without its classifier."""
        return _without_heads(super().metadata)

    @torch.no_grad()
    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """The response, and the features with fewer channels."""
        return self._narrow(self.teacher(batch, layers))

    def _narrow(self, teacher_outputs: Outputs) -> Outputs:
        features = {layer: project(x, self.width) for layer, x in teacher_outputs.features.items()}
        return Outputs(
            teacher_outputs.response,
            features,
            _without_heads(teacher_outputs.metadata),
            [self._narrow(x) for x in teacher_outputs.members],
        )

    def profile(self, batch: Batch) -> ModelProfile:
        """The teacher's, with its features projected and without its classifier."""
        return narrowed(self.teacher.profile(batch), self.width)

    def identity(self) -> dict[str, Any] | None:
        """The teacher's, and the width."""
        identity = self.teacher.identity()
        return None if identity is None else {"teacher": identity, "width": self.width}


def narrowed(profile: ModelProfile, width: int) -> ModelProfile:
    """Return the profile with its features projected and without its classifier."""
    return replace(
        profile,
        metadata=_without_heads(profile.metadata),
        feature=lambda layer: project(profile.feature(layer), width),
        members=[narrowed(member, width) for member in profile.members],
    )


def _without_heads(metadata: dict[str, Any]) -> dict[str, Any]:
    """What doesn't read the features: not the classifiers."""
    return {name: fact for name, fact in metadata.items() if name not in ("head", "heads")}


def project(feature: Tensor, width: int) -> Tensor:
    """A map (B, C, H, W), tokens (B, N, C) or vectors (B, C) with at most `width` channels."""
    dim = 2 if feature.dim() == 3 else 1
    channels = feature.shape[dim]
    if channels <= width:
        return feature
    normal = torch.randn(channels, width, generator=torch.Generator().manual_seed(channels), dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    q = q * r.diagonal().sign() * (channels / width) ** 0.5
    return (feature.movedim(dim, -1) @ q.to(feature)).movedim(-1, dim)
