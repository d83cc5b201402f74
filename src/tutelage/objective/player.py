"""Players: students with their terms, one optimiser each. The trainer wraps them, so DDP sees what the losses reach."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.nn.feature_extractor import FeatureExtractor, apply_model
from tutelage.nn.model_profile import ModelProfile, first_samples, profile_model
from tutelage.objective.terms import Terms
from tutelage.structures import Batch, Outputs
from tutelage.tasks.base import Task


class Player(nn.Module):
    """A student with its terms (and their connectors and banks): one optimiser's parameters.

    forward(batch, teacher_outputs) → {term: weighted scalar}; the teacher's outputs are computed outside.

    Args:
        model: the student.
        terms: what it minimises.
        task: the task of the run.
        view: the name of the batch's view that the student gets (`Batch.views`); empty: the inputs.

    Example:
        >>> import torch
        >>> from tutelage import Batch, Classification, Frozen, KD, Player, Terms, models
        >>> task = Classification()
        >>> teacher = Frozen(models.create("cnn8", classes=10, channels=1).model, task)
        >>> terms = Terms.from_method(KD(4), task.task_loss())
        >>> player = Player(models.create("cnn2", classes=10, channels=1).model, terms, task)
        >>> batch = Batch(torch.randn(4, 1, 8, 8), torch.arange(4))
        >>> player.wire(teacher.profile(batch), batch, samples=100)
        >>> sorted(player(batch, teacher(batch)))
        ['ce', 'kd']
    """

    def __init__(self, model: nn.Module, terms: Terms, task: Task, view: str = "") -> None:
        super().__init__()
        self.student = FeatureExtractor(model, view=view)
        self.terms = terms
        self.task = task
        self.metadata: dict[str, Any] = {}

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Choose layers and size connectors from one example, before the optimiser is made.

        samples: the training set's size. provides: the inputs that the scheme adds to each batch.
        Raises: ModelError or ConfigError if what is compared depends on nothing trainable.
        """
        batch = self.student.select(batch)
        profile = profile_model(self.student.model, batch)
        profile = replace(profile, response=self.task.response(profile.response, batch))
        self.terms.fit_kind(self.task.response_kind)
        self.terms.split_model_losses(list(profile.metadata.get("losses", ())))
        self.terms.wire(profile, teacher, batch, samples, provides)
        self.terms.refuse_frozen(profile)
        self.metadata = profile.metadata
        self.set_captured_layers()

    def set_captured_layers(self, captured: Sequence[str] = ()) -> None:
        """Capture the layers that its terms compare, and in addition `captured`."""
        self.student = FeatureExtractor(
            self.student.close(), (*self.terms.layers("student"), *captured), self.student.view
        )

    def teacher_layers(self) -> tuple[str, ...]:
        """Return the teacher's layers that it requires."""
        return self.terms.layers("teacher")

    def forward_student(self, batch: Batch) -> Outputs:
        """Return the student's outputs, with the features that its terms compare."""
        seen = self.student.select(batch)
        student_outputs = self.student(seen.inputs, seen.objects)
        metadata = self.metadata | student_outputs.metadata
        return Outputs(self.task.response(student_outputs.response, batch), student_outputs.features, metadata)

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """Return each term's weighted scalar; for a list of teachers, its mean over them."""
        student_outputs = self.forward_student(batch)
        if isinstance(teacher_outputs, list):
            return self.compare_with_each(student_outputs, teacher_outputs, batch)
        return self.compare(student_outputs, teacher_outputs, batch)

    def compare_with_each(self, student_outputs: Outputs, others: list[Outputs], batch: Batch) -> dict[str, Tensor]:
        """Return each term's mean over the others; a loss of lists gets one's own members, or all the others."""
        losses: dict[str, Tensor] = {}
        for other in others:
            teacher_outputs = replace(other, member_outputs=other.member_outputs or others)
            for term, value in self.compare(student_outputs, teacher_outputs, batch).items():
                losses[term] = losses.get(term, 0) + value / len(others)
        return losses

    def compare(self, student_outputs: Outputs, teacher_outputs: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of both outputs, in float32 also under autocast."""
        with torch.autocast(student_outputs.response.device.type, enabled=False):
            seen = self.student.select(batch)
            return self.terms(student_outputs, teacher_outputs, seen, self.task.stream_mask(seen))

    def optimised_modules(self) -> dict[str, nn.Module]:
        """Return the modules that get an optimiser each, by name."""
        return {"": self}

    def students(self) -> dict[str, FeatureExtractor]:
        """Return the networks that the run produces, by name."""
        return {"student": self.student}


class AuxiliaryPlayer(nn.Module):
    """Abstract: a module with an optimiser that is no student."""

    def optimised_modules(self) -> dict[str, nn.Module]:
        """Return the whole module."""
        return {"": self}

    def students(self) -> dict[str, FeatureExtractor]:
        """Return no network."""
        return {}


def refuse_single_sample(students: Mapping[str, FeatureExtractor], batch: Batch, batch_size: int) -> None:
    """Refuse batches of one sample for students with a norm over the batch.

    Raises: ConfigError that names the student and the key.
    """
    if batch_size > 1:
        return
    for name, student in students.items():
        try:
            with torch.no_grad():
                apply_model(copy.deepcopy(student.model).train(), first_samples(student.select(batch).inputs, 1))
        except ValueError as error:
            raise ConfigError(
                f"batch_size: one sample a batch and process, and {name} has a norm over the batch ({error}); use 2 "
                "or more."
            ) from error
