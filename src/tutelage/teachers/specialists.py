"""Several teachers that know different classes, as one."""

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


class Specialists(Ensemble, Teacher):  # the registry looks for Teacher by name
    """Several teachers' answers, each about its own classes, joined into one about all classes.

    classes: what each one knows, as it numbers them; known: all classes, as the student numbers them. The joined logit
    of a class is the mean of those of the teachers that know it: where no two know the same, their heads side by side.
    The members answer for their own classes; the fact `columns` lists, for each member, the student's numbers of its
    classes.
    Raises: ConfigError if a teacher knows a class that isn't one of the student's, or one of these nobody knows.
    """

    name = "specialists"

    def __init__(self, members: Sequence[Teacher], classes: Sequence[Sequence[str]], known: Sequence[str]) -> None:
        super().__init__(members)
        strange = [(m, name) for m, names in enumerate(classes) for name in names if name not in known]
        faults = [unknown(f"class of teacher {m}", name, known) for m, name in strange]
        lost = [name for name in known if not any(name in names for names in classes)]
        if lost:
            faults.append(f"no teacher knows {', '.join(lost)}: add one that does, or leave them out (classes=[…]).")
        if faults:
            raise ConfigError("\n".join(faults))
        self.columns = [[known.index(name) for name in names] for names in classes]
        self.counts = [sum(column in columns for columns in self.columns) for column in range(len(known))]

    def _mean(self, responses: list[Tensor]) -> Tensor:
        """The joined logits."""
        first = responses[0]
        joined = first.new_zeros(first.shape[0], len(self.counts), *first.shape[2:])
        for m, (response, columns) in enumerate(zip(responses, self.columns, strict=True)):
            if response.shape[1] != len(columns):
                raise ConfigError(f"teacher {m} answers {response.shape[1]} classes, and {len(columns)} were named.")
            joined[:, columns] += response
        return joined / torch.tensor(self.counts, device=first.device).view(-1, *[1] * (first.dim() - 2))

    def profile(self, batch: Batch) -> ModelProfile:
        """As of several teachers, and which classes each one knows."""
        profile = super().profile(batch)
        self.metadata = {**profile.metadata, "columns": self.columns}
        return replace(profile, metadata=self.metadata)

    def identity(self) -> dict[str, Any] | None:
        """The members', and their classes."""
        identity = super().identity()
        return None if identity is None else identity | {"columns": self.columns}
