"""What is asked for, and what `create` returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

FILE = "give a file of weights (teacher_weights=FILE, student_weights=FILE)"
"""The mend where published weights can't be had."""


@dataclass(frozen=True)
class ModelRequest:
    """The arguments of `create`, the name without its prefix; local: whether the weights are a file."""

    name: str
    classes: int
    channels: int
    size: tuple[int, int] | None
    task: str
    pretrained: bool | None
    local: bool

    def published(self, named: bool) -> bool:
        """Whether published weights are meant; `named` says whether the name names some."""
        return named if self.pretrained is None else self.pretrained

    @property
    def dense(self) -> bool:
        """Whether each pixel wants a label."""
        return self.task == "segmentation"


@dataclass
class LoadedModel:
    """A model, and how it came to be.

    name: as given. mean, std: the normalisation, by channel, of the published weights that were asked for; None if
    there are none or it isn't known. pretrained: whether its weights were read. untrained: which of its layers nobody
    has trained although the others came trained, a sentence each. notes: what else the user should know, likewise.
    """

    model: nn.Module
    name: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    pretrained: bool = False
    untrained: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
