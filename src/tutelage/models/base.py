"""The arguments and the result of `create`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from tutelage.data import modalities
from tutelage.structures import Inputs
from tutelage.utils import registry

FILE = "give a file of weights (teacher_weights=FILE, student_weights=FILE)"
"""The mend if published weights are unavailable."""

INPUTS = {0: "rows of a table", 1: "series or points", 2: "images", 3: "clips or voxels"}
"""The inputs by the number of their dimensions besides the channels."""
NETWORKS = {
    0: "mlp-64-64",
    1: "conv1d-3-16 (points: pointnet-16)",
    2: "resnet20",
    3: "r3d10-8 or conv3d-3-8",
}
"""A network by name for each of them."""


MODALITIES = {"node_classification": "node", "graph_classification": "graph"}
"""The modality of the inputs of tasks that need networks of their own."""


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
    def inputs(self) -> str:
        """The inputs in words, such as `images of 32×32`; empty if their size isn't known."""
        if self.size is None:
            return ""
        kind = INPUTS.get(len(self.size), f"inputs of {len(self.size)} dimensions,")
        return f"{kind} of {'×'.join(map(str, self.size))}" if self.size else kind

    def suits(self, task: str) -> bool:
        """Return True if a network for that task is one for the requested task."""
        if {"detection", "denoising", "generation", *MODALITIES} & {task, self.task}:
            return task == self.task
        return is_dense(task) == self.is_dense

    @property
    def is_detector(self) -> bool:
        """True if the task requires boxes of objects."""
        return self.task == "detection"

    @property
    def is_dense(self) -> bool:
        """True if the task requires an output for each pixel."""
        return is_dense(self.task)


def example_inputs(network: nn.Module, task: str, channels: int, size: tuple[int, ...], samples: int = 1) -> Inputs:
    """Return inputs of zeros for a network: those of its own method `example`, graphs, or a tensor of that size."""
    own: Callable[..., Inputs] | None = getattr(network, "example", None)
    if own is not None:
        return own(samples, channels, *size)
    if task in MODALITIES:
        return modalities.find(MODALITIES[task]).example(channels, (), samples)
    return torch.zeros(samples, channels, *size)


def is_dense(task: str) -> bool:
    """Return True if a task requires an output for each position."""
    return registry.is_known("tasks", task) and registry.find_entry("tasks", task).positions > 0


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
