"""An ensemble of teachers with different classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import ConfigError, unknown
from tutelage.nn.model_profile import ModelProfile
from tutelage.structures import Batch
from tutelage.teachers.base import Teacher
from tutelage.teachers.ensemble import Ensemble


class Specialists(Ensemble):
    """Teachers with different classes, whose logits are joined into logits of all classes.

    The joined logit of a class is the mean over the teachers that know it; if no two teachers share a class, the joined
    logits are a concatenation. The members' outputs have their own classes only; the metadata `columns` lists, for each
    member, the student's numbers of that member's classes.

    Args:
        members: the teachers.
        classes: the classes of each member, in the member's order.
        known: all classes, in the student's order.

    Raises: ConfigError if a teacher has a class that the student lacks, or the student has one that no teacher has.
    """

    name = "specialists"

    def __init__(self, members: Sequence[Teacher], classes: Sequence[Sequence[str]], known: Sequence[str]) -> None:
        super().__init__(members)
        unknown_classes = [(m, name) for m, names in enumerate(classes) for name in names if name not in known]
        faults = [unknown(f"class of teacher {m}", name, known) for m, name in unknown_classes]
        missing = [name for name in known if not any(name in names for names in classes)]
        if missing:
            faults.append(f"no teacher knows {', '.join(missing)}: add one that does, or exclude them (classes=[…]).")
        if faults:
            raise ConfigError("\n".join(faults))
        self.columns = [[known.index(name) for name in names] for names in classes]
        self.counts = [sum(column in columns for columns in self.columns) for column in range(len(known))]

    def _mean(self, responses: list[Tensor]) -> Tensor:
        """Return the joined logits."""
        first = responses[0]
        joined = first.new_zeros(first.shape[0], len(self.counts), *first.shape[2:])
        for m, (response, columns) in enumerate(zip(responses, self.columns, strict=True)):
            if response.shape[1] != len(columns):
                raise ConfigError(
                    f"teacher {m} outputs {response.shape[1]} classes, but {len(columns)} are named: name the classes "
                    "that it outputs."
                )
            joined[:, columns] += response
        return joined / torch.tensor(self.counts, device=first.device).view(-1, *[1] * (first.dim() - 2))

    def profile(self, batch: Batch) -> ModelProfile:
        """Return the ensemble's profile, with each member's classes in the metadata."""
        profile = super().profile(batch)
        self.metadata = {**profile.metadata, "columns": self.columns}
        return replace(profile, metadata=self.metadata)

    def identity(self) -> dict[str, Any] | None:
        """Return the members' identities, and their classes."""
        identity = super().identity()
        return None if identity is None else identity | {"columns": self.columns}
