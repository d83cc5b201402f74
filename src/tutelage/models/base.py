"""The arguments and the result of `create`."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

FILE = "give a file of weights (teacher_weights=FILE, student_weights=FILE)"
"""The mend if published weights are unavailable."""


@dataclass(frozen=True)
class ModelRequest:
    """The arguments of `create`, the name without its prefix; local: whether the weights are a file."""

    name: str
    classes: int
    channels: int
    size: tuple[int, ...] | None
    task: str
    pretrained: bool | None
    local: bool

    def loads_published(self, by_name: bool) -> bool:
        """Return True if published weights are requested; by_name: whether the name names some."""
        return by_name if self.pretrained is None else self.pretrained

    @property
    def is_dense(self) -> bool:
        """True if the task requires a label for each pixel."""
        return self.task == "segmentation"


@dataclass(frozen=True)
class LoadedModel:
    """A model, and how it was made.

    Args:
        model: the module.
        name: the name as given.
        mean, std: the normalisation, per channel, of the requested published weights; None if there are none or it
            isn't known.
        pretrained: whether its weights were loaded.
        untrained: sentences about layers with random weights in an otherwise pre-trained model.
        notes: other messages for the user.
    """

    model: nn.Module
    name: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    pretrained: bool = False
    untrained: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
