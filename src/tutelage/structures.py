"""The two values that the parts exchange: a batch of data, and a model's outputs for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from tutelage.errors import ConfigError, ModelError, unknown
from tutelage.utils.stream_names import LABELLED, STREAMS

Inputs = Tensor | dict[str, Tensor]
Objects = list[dict[str, Tensor]]
"""A mapping for each sample, of tensors as long as it has objects."""


class JoinedInputs(dict[str, Tensor], ABC):
    """Abstract: the inputs of several samples in tensors without a row for each, such as the nodes of graphs.

    A model gets the tensors by name. `Kind(mapping)` makes them, without further state.
    """

    @property
    @abstractmethod
    def samples(self) -> int:
        """The number of samples."""

    @abstractmethod
    def part(self, start: int, stop: int) -> Self:
        """Return the inputs of the samples from `start` to `stop`."""

    @classmethod
    @abstractmethod
    def concatenate(cls, parts: Sequence[Any]) -> Self:
        """Return the inputs of the samples of several such, one part after the other."""

    @abstractmethod
    def take(self, rows: Tensor) -> Self:
        """Return the inputs of these samples."""

    @abstractmethod
    def of_samples(self, x: Tensor) -> Tensor | None:
        """Return the rows of the samples, from what a model computed of these inputs; None if it has other rows."""

    def available(self) -> dict[str, Any]:
        """Return the inputs that a loss may require by keyword, by name."""
        return {}


def rows_of_samples(inputs: Inputs, x: Tensor) -> Tensor:
    """Return the rows of the samples, from what a model computed of the inputs: all, except of joined inputs."""
    rows = inputs.of_samples(x) if isinstance(inputs, JoinedInputs) and x.dim() else x
    return x if rows is None else rows


def joined_parts(model: Any, inputs: Inputs, x: Tensor) -> Tensor:
    """Return what a layer computed of the inputs, with a row for each sample, and nothing else of joined inputs.

    A model that runs on parts of each sample has methods `split_parts(inputs)` and `join_parts(inputs, x)`.
    """
    join = getattr(model, "join_parts", None)
    return rows_of_samples(inputs, x) if join is None else join(inputs, x)


def concatenate_inputs(parts: Sequence[Inputs]) -> Inputs:
    """Return the inputs of several batches in one: tensors, or joined inputs of one kind."""
    if isinstance(parts[0], JoinedInputs):
        return parts[0].concatenate(parts)
    return torch.cat([part for part in parts if isinstance(part, Tensor)])


def count_samples(inputs: Inputs) -> int:
    """Return the number of samples."""
    if isinstance(inputs, JoinedInputs):
        return inputs.samples
    return len(inputs if isinstance(inputs, Tensor) else next(iter(inputs.values())))


def move(value: Any, device: torch.device | str) -> Any:
    """Return the value with its tensors on a device; copies to the CPU are complete on return."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=torch.device(device).type != "cpu")
    if isinstance(value, Mapping):
        moved = {key: move(v, device) for key, v in value.items()}
        kind: Any = type(value)
        return kind(moved) if isinstance(value, JoinedInputs) else moved
    if type(value) in (tuple, list):
        return type(value)(move(v, device) for v in value)
    return value


@dataclass  # a value; not frozen, since Lightning's mixed precision refuses frozen dataclasses
class Batch:
    """The data of one step.

    Args:
        inputs: a tensor (B, …), a dict of them, by modality, or joined inputs (graphs).
        targets: the ground truth; None if unlabelled.
        index: (B,) int64, each sample's number in its data set.
        epoch: the progress of the training in epochs (1.5 = half-way through the second).
        view: the number of the samples' augmented view, of a fixed number of views; None if each epoch has new ones.
        columns: the number of classes of each label column, if the targets are (B, K) with a column for each of K
            tasks; a response has the columns' logits side by side, and a target below 0 is unknown.
        extras: other inputs that a loss may require by keyword.
        views: the same samples as models with other inputs see them, by name.
        objects: a mapping for each sample, of tensors as long as it has objects ({"boxes": (n, 4), "labels": (n,)}), in
            place of targets, and the sample's "size", the height and width in pixels that the boxes had; None without
            such. If the batch has streams, they are those of the labelled samples, which are the first.
        streams: the first sample, and the one after the last, of each stream of the training data, by name; empty if
            there is one. Only "labelled" has targets.

    Example:
        >>> import torch
        >>> from tutelage import Batch
        >>> batch = Batch(torch.zeros(4, 3, 32, 32), torch.tensor([0, 1, 2, 3]))
        >>> len(batch), sorted(batch.available())
        (4, ['epoch', 'inputs', 'targets'])
    """

    inputs: Inputs
    targets: Tensor | None = None
    index: Tensor | None = None
    epoch: float = 0.0
    view: int | None = None
    columns: tuple[int, ...] = ()
    extras: dict[str, Any] = field(default_factory=dict)
    views: dict[str, Tensor] = field(default_factory=dict)
    streams: dict[str, tuple[int, int]] = field(default_factory=dict)
    objects: Objects | None = None

    def to(self, device: torch.device | str, memory_format: torch.memory_format | None = None) -> Batch:
        """Return the batch on a device; 4-D inputs in `memory_format` if given."""

        def shape(x: Tensor) -> Tensor:
            return x.contiguous(memory_format=memory_format) if memory_format is not None and x.dim() == 4 else x

        inputs = move(self.inputs, device)
        if not isinstance(inputs, JoinedInputs):
            inputs = shape(inputs) if isinstance(inputs, Tensor) else {key: shape(x) for key, x in inputs.items()}
        views = {name: shape(x) for name, x in move(self.views, device).items()}
        moved = {name: move(getattr(self, name), device) for name in ("targets", "index", "extras", "objects")}
        return replace(self, inputs=inputs, views=views, **moved)

    def available(self) -> dict[str, Any]:
        """Return the inputs that a loss may require by keyword, by name."""
        values = {
            "inputs": self.inputs,
            "targets": self.targets,
            "objects": self.objects,
            "index": self.index,
            "epoch": self.epoch,
            "boxes": self._boxes,
            **(self.inputs.available() if isinstance(self.inputs, JoinedInputs) else {}),
            **self.extras,
        }
        return {name: value for name, value in values.items() if value is not None}

    def seen_as(self, view: str) -> Batch:
        """Return the batch with a view's inputs, and boxes in their pixels."""
        inputs, objects = self.views[view], self.objects
        if objects and "boxes" in objects[0] and isinstance(self.inputs, Tensor) and inputs.dim() == 4:
            sides = [inputs.shape[k] / self.inputs.shape[k] for k in (3, 2)]
            objects = [{**each, "boxes": each["boxes"] * each["boxes"].new_tensor(sides * 2)} for each in objects]
        return replace(self, inputs=inputs, objects=objects)

    @cached_property
    def _boxes(self) -> Tensor | None:
        """Return the objects' boxes (B, M, 4), x₁, y₁, x₂, y₂, where a sample with fewer has (0, 0, -1, -1)."""
        if not self.objects or "boxes" not in self.objects[0]:
            return None
        boxes = [of_sample["boxes"] for of_sample in self.objects]
        table = boxes[0].new_tensor([0, 0, -1, -1]).repeat(len(boxes), max(1, *map(len, boxes)), 1)
        for row, of_sample in zip(table, boxes, strict=True):
            row[: len(of_sample)] = of_sample
        return table

    def stream(self, name: str) -> Batch:
        """Return the batch of a stream's samples.

        Raises: ConfigError if there is no such stream.
        """
        if name not in self.streams:
            raise ConfigError(unknown("stream", name, self.streams or STREAMS[:1], "data={labelled: …, unlabelled: …}"))
        part = self.part(*self.streams[name])
        return part if name == LABELLED else replace(part, targets=None, objects=None)

    def part(self, start: int, stop: int) -> Batch:
        """Return the batch of the samples from `start` to `stop`, without streams."""

        def of(value: Any) -> Any:
            return value[start:stop] if isinstance(value, Tensor) and value.dim() and len(value) == len(self) else value

        if isinstance(self.inputs, JoinedInputs):
            inputs: Inputs = self.inputs.part(start, stop)
        else:
            inputs = of(self.inputs) if isinstance(self.inputs, Tensor) else {k: of(x) for k, x in self.inputs.items()}
        extras, views = ({name: of(x) for name, x in values.items()} for values in (self.extras, self.views))
        parts: dict[str, Any] = {"inputs": inputs, "targets": of(self.targets), "index": of(self.index)}
        objects = None if self.objects is None else self.objects[start:stop]
        return replace(self, **parts, extras=extras, views=views, streams={}, objects=objects)

    def __len__(self) -> int:
        return count_samples(self.inputs)


@dataclass  # likewise
class Outputs:
    """The outputs of a model.

    Args:
        response: (B, C, …).
        features: the requested features, by layer name, and parts of the model's output, by "@" and their name.
        metadata: properties of the model that some losses require (`head`: its classifier's weight and bias).
        member_outputs: the outputs of each of several models (teachers, peers, exits), for losses that take a list.

    Example:
        >>> import torch
        >>> from tutelage import Outputs
        >>> outputs = Outputs(torch.zeros(4, 10), {"layer1": torch.zeros(4, 16, 8, 8)})
        >>> outputs["layer1"].shape
        torch.Size([4, 16, 8, 8])
    """

    response: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    member_outputs: list[Outputs] = field(default_factory=list)

    def __getitem__(self, layer: str) -> Tensor:
        if layer not in self.features:
            raise ModelError(f"layer {layer!r} was not captured; captured: {', '.join(self.features) or 'none'}.")
        return self.features[layer]

    def to(self, device: torch.device | str) -> Outputs:
        """Return the outputs on a device."""
        members = [member.to(device) for member in self.member_outputs]
        return Outputs(move(self.response, device), move(self.features, device), move(self.metadata, device), members)

    def part(self, span: slice) -> Outputs:
        """Return the outputs for some of the samples."""
        features = {name: x[span] for name, x in self.features.items()}
        members = [member.part(span) for member in self.member_outputs]
        return Outputs(self.response[span], features, self.metadata, members)

    def detach(self) -> Outputs:
        """Return the outputs detached from the graph."""
        features = {name: x.detach() for name, x in self.features.items()}
        return Outputs(
            self.response.detach(), features, self.metadata, [member.detach() for member in self.member_outputs]
        )


PART = "@"
"""The prefix of a part's name among the features: `outputs["@embedding"]`, which a term requests with `part`."""


def part_of(raw: Any, name: str) -> Tensor:
    """Return the part of that name in a model's raw output, a mapping or an object with such a field.

    Raises: ModelError that names the parts that there are.
    """
    parts = raw if isinstance(raw, Mapping) else raw._asdict() if hasattr(raw, "_asdict") else {}
    if name not in parts:
        known = ", ".join(map(repr, parts)) or "none"
        raise ModelError(f"the model returned {_kind(raw)}, which has no part {name!r}; its parts: {known}.")
    part = parts[name]
    if not isinstance(part, Tensor) or not part.dim() or not part.is_floating_point():
        raise ModelError(f"the part {name!r} of the model's output is {_kind(part)}: expected a floating-point tensor.")
    return part


NAMES = ("logits", "out", "response", "output")
"""Names of the response in the mappings and objects that models return."""


def response_of(raw: Any) -> Tensor:
    """Return the response in a model's raw output.

    The response is a floating-point tensor: the raw output itself, the value of one of `NAMES` in a mapping or an
    object, or the first in a tuple or list, at any depth. Scalars, such as a loss next to the logits, don't count.
    Raises: ModelError that describes the raw output.
    """
    result = _response(raw)
    if result is None:
        raise ModelError(
            f"the model returned {_kind(raw)}, which holds no response: expected a floating-point tensor, an object "
            "with .logits, a dict with 'logits' or 'out', or a tuple that begins with one; wrap the model so that it "
            "does."
        )
    return result


def _response(raw: Any) -> Tensor | None:
    if isinstance(raw, Tensor):
        return raw if raw.dim() and raw.is_floating_point() else None
    parts = [raw.get(name) if isinstance(raw, Mapping) else getattr(raw, name, None) for name in NAMES]
    parts += raw if isinstance(raw, tuple | list) else ()
    for part in parts:
        result = None if part is None else _response(part)
        if result is not None:
            return result
    return None


def training_outputs(raw: Any) -> dict[str, dict[str, Tensor]]:
    """Return what a model that gets the ground truth returns beside its response: its `losses` and `part_targets`.

    Both are mappings of tensors: its own losses, and the truth in the form of parts of its output, by their names.
    """
    kinds = ("losses", "part_targets")
    return {kind: dict(raw[kind]) for kind in kinds if isinstance(raw, Mapping) and isinstance(raw.get(kind), Mapping)}


def _kind(raw: Any) -> str:
    """Return a description of a raw output for a message."""
    name = "None" if raw is None else f"a {type(raw).__name__}"
    if isinstance(raw, Tensor):
        return f"{name} {tuple(raw.shape)} of {str(raw.dtype).removeprefix('torch.')}"
    if isinstance(raw, Mapping):
        return f"{name} of {', '.join(map(repr, raw)) or 'nothing'}"
    if isinstance(raw, tuple | list):
        return f"{name} of {', '.join(type(part).__name__ for part in raw) or 'nothing'}"
    return name
