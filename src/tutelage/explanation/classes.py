"""The rows of a classification: each network's logits, and the labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from tutelage.explanation.base import NotApplicable, OverSeeds, over_seeds
from tutelage.explanation.opened_run import OpenedRun

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class ClassRows:
    """The logits (N, C) of each role and seed for one split, the labels (N,) and each row's sample (N,)."""

    logits: dict[str, list[Tensor]]
    targets: Tensor
    samples: Tensor
    seen: int

    @property
    def students(self) -> list[str]:
        """The roles of students."""
        return [role for role in self.logits if role != "teacher"]

    def of_each(self, measure: Callable[[Tensor, Tensor], Numbers]) -> dict[str, dict[str, OverSeeds]]:
        """Return measure(logits, targets) of each role, over seeds."""
        return {
            role: over_seeds([measure(logits, self.targets) for logits in distinct(of_seeds)])
            for role, of_seeds in self.logits.items()
        }

    def to_teacher(self, measure: Callable[[Tensor, Tensor, Tensor], Numbers]) -> dict[str, dict[str, OverSeeds]]:
        """Return measure(student's logits, its teacher's logits, targets) of each student, over seeds."""
        teachers = self.logits["teacher"]
        return {
            role: over_seeds([measure(s, t, self.targets) for s, t in zip(self.logits[role], teachers, strict=True)])
            for role in self.students
        }


def distinct(of_seeds: Sequence[Tensor]) -> list[Tensor]:
    """Return each tensor once: all seeds may have one teacher."""
    return [*{id(logits): logits for logits in of_seeds}.values()]


def class_rows(opened: OpenedRun, split: str, teacher: bool = False) -> ClassRows:
    """Return the rows of a split; teacher: whether a teacher is required.

    Raises: NotApplicable if the task isn't to choose one of several classes, or there is no such teacher.
    """
    kind = opened.task.response_kind
    if kind != "classes" or opened.data.columns:
        what = "several label columns" if opened.data.columns else kind
        raise NotApplicable(f"these are figures of one class among several, and this run's outputs are {what}")
    if teacher and "teacher" not in opened.networks:
        raise NotApplicable("the run has no trained teacher to compare with")
    rows = opened.responses(split)
    if rows.targets is None or rows.targets.dim() != 1:
        raise NotApplicable("the data has no label for each row of outputs")
    return ClassRows(rows.by_role, rows.targets.long(), rows.samples, rows.seen)
