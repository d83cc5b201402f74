"""A trained network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.capture import Tapped
from tutelage.errors import NotFinite
from tutelage.layers import Look
from tutelage.tasks.base import Task
from tutelage.teachers.base import Teacher
from tutelage.values import Batch, Outputs


class Frozen(Teacher):
    """A trained network that doesn't change: eval mode, no gradients, statistics untouched.

    scale, shift: per channel, if the network wants its images normalised otherwise than the batch has them: it gets
    scale · x + shift.
    Raises: NotFinite if its first answers aren't finite numbers; later ones show in the losses.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        scale: Sequence[float] | None = None,
        shift: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.scale: Tensor | None
        self.shift: Tensor | None
        self.tapped = Tapped(model.requires_grad_(False))
        self.task = task
        self.checked = False
        self.facts: dict[str, Any] = {}
        self.register_buffer("scale", None if scale is None else torch.tensor(scale).view(1, -1, 1, 1))
        self.register_buffer("shift", None if shift is None else torch.tensor(shift).view(1, -1, 1, 1))
        self.eval()

    def seen(self, batch: Batch) -> Batch:
        """The batch as this network wants it."""
        if self.scale is None or self.shift is None or not isinstance(batch.inputs, Tensor):
            return batch
        return replace(batch, inputs=batch.inputs * self.scale + self.shift)

    @torch.no_grad()
    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """What the network says."""
        if tuple(layers) != self.tapped.layers:
            self.tapped = Tapped(self.tapped.close(), layers).eval()
        told = self.tapped(self.seen(batch).inputs)
        if not self.checked:
            self._check(told)
        return Outputs(self.task.response(told.response, batch), told.features, self.facts)

    def _check(self, told: Outputs) -> None:
        """One look at the device."""
        self.checked = True
        if not torch.stack([x.isfinite().all() for x in (told.response, *told.features.values())]).all():
            raise NotFinite(
                f"the teacher {type(self.tapped.model).__name__} answers NaN or infinite numbers; look at its weights, "
                "and whether its images are normalised as it was trained (tutelage check)."
            )

    def identity(self) -> dict[str, Any]:
        """The network's code as it prints itself, its weights' sha256, and how it gets its images."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tapped.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        adapt = [None if x is None else x.flatten().tolist() for x in (self.scale, self.shift)]
        return {
            "network": hashlib.sha256(repr(self.tapped.model).encode()).hexdigest(),
            "weights": digest.hexdigest(),
            "scale and shift": adapt,
            "task": type(self.task).__name__,
        }

    def look(self, batch: Batch) -> Look:
        """The network's layers; from then on its answers tell its facts too."""
        look = Look(self.tapped.model, self.seen(batch))
        self.facts = look.facts
        look.response = self.task.response(look.response, batch)
        return look
