"""An ensemble of teachers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.nn.model_profile import ModelProfile
from tutelage.structures import PART, Batch, Outputs
from tutelage.teachers.base import Teacher

Average = Literal["logits", "probabilities"]


class Ensemble(Teacher):
    """The mean of several teachers.

    average="logits": z = (1/M) Σ_m z_m;  average="probabilities": z = log((1/M) Σ_m softmax(z_m)). Features are the
    members' own, as `0.layer3`, `1.layer3`, …; if all have a linear classifier, the metadata `heads` lists these.

    Args:
        members: the teachers.
        average: what is averaged, "logits" or "probabilities".

    Raises: ConfigError without a member, or if the members' responses differ in shape.

    Example:
        >>> import torch
        >>> from tutelage import Batch, Classification, Ensemble, Frozen, models
        >>> networks = [models.create(name, classes=10, channels=1).model for name in ("cnn4", "cnn8")]
        >>> teacher = Ensemble([Frozen(network, Classification()) for network in networks])
        >>> outputs = teacher(Batch(torch.randn(4, 1, 8, 8)), ["0.layer1", "1.layer1"])
        >>> list(outputs.features)
        ['0.layer1', '1.layer1']
    """

    def __init__(self, members: Sequence[Teacher], average: Average = "logits") -> None:
        super().__init__()
        if not members:
            raise ConfigError("an ensemble needs at least one teacher, got none.")
        self.members = nn.ModuleList(members)
        self.average = average
        self.metadata: dict[str, Any] = {}

    def member_teachers(self) -> list[Teacher]:
        """Return the members."""
        return [cast(Teacher, member) for member in self.members]

    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """Return the mean response and each member's features, with the members' outputs."""
        by_member = zip(self.member_teachers(), self._by_member(layers), strict=True)
        teacher_outputs = [member(batch, names) for member, names in by_member]
        features = {
            f"{m}.{name}": x for m, outputs in enumerate(teacher_outputs) for name, x in outputs.features.items()
        }
        return Outputs(
            self._mean([outputs.response for outputs in teacher_outputs]), features, self.metadata, teacher_outputs
        )

    def _by_member(self, layers: Sequence[str]) -> list[list[str]]:
        """Return each member's layers, under its own names."""
        by_member: list[list[str]] = [[] for _ in self.members]
        for layer in layers:
            member, _, name = layer.partition(".")
            by_member[int(member)].append(name)
        return by_member

    def _mean(self, responses: list[Tensor]) -> Tensor:
        shapes = {tuple(r.shape[1:]) for r in responses}
        if len(shapes) > 1:
            raise ConfigError(
                f"the teachers' responses differ in shape, {sorted(shapes)}; use teachers of the same classes."
            )
        if self.average == "logits":
            return torch.stack(responses).mean(0)
        return torch.stack([F.log_softmax(r, dim=1) for r in responses]).logsumexp(0) - math.log(len(responses))

    def identity(self) -> dict[str, Any] | None:
        """Return the members' identities and the kind of average."""
        members = [member.identity() for member in self.member_teachers()]
        return None if None in members else {"average": self.average, "members": members}

    def profile(self, batch: Batch) -> ModelProfile:
        """Return the profile with all members' layers, and the first member's stages and embedding."""
        profiles = [teacher.profile(batch) for teacher in self.member_teachers()]
        profile = join_profiles(profiles, self._mean([profile.response for profile in profiles]))
        self.metadata = profile.metadata
        return profile

    def prepare_for(self, layers: Sequence[str], vectors: Sequence[str] = (), member_outputs: bool = False) -> None:
        """Prepare the members, each for its own layers."""
        by_member = zip(self.member_teachers(), self._by_member(layers), self._by_member(vectors), strict=True)
        for member, names, vector_names in by_member:
            member.prepare_for(names, vector_names, member_outputs)

    def after_step(self) -> None:
        """Update the members."""
        for member in self.member_teachers():
            member.after_step()

    def checkpoint_state(self) -> dict[str, Any]:
        """Return the members' states by number."""
        return {str(m): member.checkpoint_state() for m, member in enumerate(self.member_teachers())}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Restore the members' states."""
        for m, member in enumerate(self.member_teachers()):
            member.load_checkpoint_state(state[str(m)])


def join_profiles(profiles: Sequence[ModelProfile], response: Tensor) -> ModelProfile:
    """Return several profiles as one with this response, each one's layers under its number."""

    def feature(layer: str) -> Tensor:
        if layer.startswith(PART):
            part = layer.removeprefix(PART)
            raise ConfigError(f"part={part}: several teachers have no part in common: use one teacher, or responses.")
        member, _, name = layer.partition(".")
        return profiles[int(member)].feature(name)

    def is_series(layer: str) -> bool:
        member, _, name = layer.partition(".")
        return profiles[int(member)].is_series(name)

    heads = [profile.metadata.get("head") for profile in profiles]
    return replace(
        profiles[0],
        response=response,
        layers=[replace(x, name=f"{m}.{x.name}") for m, profile in enumerate(profiles) for x in profile.layers],
        stages=[replace(x, name=f"0.{x.name}") for x in profiles[0].stages],
        embedding=f"0.{profiles[0].embedding}",
        metadata={} if None in heads else {"heads": heads},
        feature=feature,
        is_series=is_series,
        is_trainable=lambda layer: False,  # teachers aren't trained
        member_profiles=profiles,
    )
