"""A trained network as a teacher."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError, NotFinite, unknown
from tutelage.nn.batch_norm_folding import fold_batch_norms
from tutelage.nn.feature_extractor import FeatureExtractor, respond
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.structures import Batch, Inputs, Outputs
from tutelage.tasks.base import Task
from tutelage.teachers.base import Teacher
from tutelage.utils.compat import Conversion, ConvertibleModule, convert, cpu_computes_bfloat16, unwrap_compiled

PRECISIONS = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}


class Frozen(ConvertibleModule, Teacher):
    """A trained network that doesn't change: eval mode, no gradients, unchanged batch statistics.

    Args:
        model: the network.
        task: the task of the run.
        scale: the factor per channel, if the network's normalisation differs from the batch's; its input is then
            scale · x + shift.
        shift: the summand per channel.
        precision: "32", or "bf16" or "16" to run the network under autocast if the device computes natively in that
            type; the response is float32.
        folded: fold batch norms into the layers before them, which is exact up to rounding; `model` isn't changed.
        size: the side, or height and width, in pixels to which images are resized bilinearly; None: not resized. Other
            inputs have no size to choose.
        untrained: a description of the layers that are untrained; empty if there are none.
        view: the name of the batch's view that the network gets (`Batch.views`); empty: the inputs.
        rescale: factors and summands per output, if the network's estimates are scaled in another way than the batch's
            targets.

    Raises: NotFinite if the outputs for the first batch aren't finite (later ones show in the losses); ConfigError for
    an unknown precision.

    Example:
        >>> import torch
        >>> from tutelage import Batch, Classification, Frozen, models
        >>> teacher = Frozen(models.create("cnn8", classes=10, channels=1).model, Classification())
        >>> outputs = teacher(Batch(torch.randn(4, 1, 8, 8)), ["layer1"])
        >>> outputs.response.shape, list(outputs.features)
        (torch.Size([4, 10]), ['layer1'])
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        scale: Sequence[float] | None = None,
        shift: Sequence[float] | None = None,
        precision: str = "32",
        folded: bool = False,
        size: int | tuple[int, int] | None = None,
        untrained: str = "",
        view: str = "",
        rescale: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise ConfigError(unknown("precision", precision, list(PRECISIONS)))
        self.scale: Tensor | None
        self.shift: Tensor | None
        self.unfolded = [
            unwrap_compiled(model).requires_grad_(False)
        ]  # in a list, so that it isn't a submodule: when folded, a copy of it is run
        self.feature_extractor = FeatureExtractor(model)
        self.task = task
        self.dtype = PRECISIONS[precision]
        self.folded = folded
        self.size = size
        self.untrained = untrained
        self.view = view
        self.checked = False
        self.metadata: dict[str, Any] = {}
        self.rescale: Tensor | None
        self.register_buffer("rescale", None if rescale is None else torch.tensor(rescale))
        self.register_buffer("scale", None if scale is None else torch.tensor(scale))
        self.register_buffer("shift", None if shift is None else torch.tensor(shift))
        self.eval()

    def adapt_inputs(self, batch: Batch) -> Batch:
        """Return the batch normalised and resized for this network."""
        x = batch.views[self.view] if self.view else batch.inputs
        if not isinstance(x, Tensor):
            return batch
        if self.scale is not None and self.shift is not None:
            shape = (-1, *(1 for _ in x.shape[2:]))
            x = x * self.scale.view(shape) + self.shift.view(shape)
        if self.size is not None:
            x = F.interpolate(x, self.size, mode="bilinear", antialias=True)
        return replace(batch, inputs=x)

    @torch.no_grad()
    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """Return the network's outputs."""
        return self.forward_student(batch, layers)

    def forward_student(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """Return the network's outputs, with a gradient to those of its parameters that require one."""
        inputs = self.adapt_inputs(batch).inputs
        if tuple(layers) != self.feature_extractor.layers or (
            self.folded and self.feature_extractor.model is self.unfolded[0]
        ):
            self._capture(layers, inputs)
        with self._autocast(inputs):
            teacher_outputs = self.feature_extractor(inputs)
        if not self.checked:
            self._check_finite(teacher_outputs)
        response = self._rescaled(self.task.response(teacher_outputs.response, batch))
        return Outputs(response, teacher_outputs.features, self.metadata)

    @torch.no_grad()
    def respond(self, batch: Batch) -> Tensor:
        """Return the response, or the network's own answer for evaluation, such as a detector's detections."""
        if not hasattr(self.unfolded[0], "respond"):
            return self(batch).response
        seen = self.adapt_inputs(batch)
        with self._autocast(seen.inputs):
            return respond(self.unfolded[0], seen)

    def _rescaled(self, response: Tensor) -> Tensor:
        if self.rescale is None:
            return response
        factors, summands = self.rescale.view(2, -1, *(1 for _ in response.shape[2:]))
        return response * factors + summands

    def _capture(self, layers: Sequence[str], inputs: Inputs) -> None:
        self.feature_extractor.close()
        model = self.unfolded[0]
        if self.folded:
            model = _sharing_tensors(model)
            fold_batch_norms(model, inputs, layers)
        self.feature_extractor = FeatureExtractor(model, layers).eval()

    def _autocast(self, inputs: Inputs) -> AbstractContextManager[Any]:
        device = (inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))).device
        native = self.dtype != torch.float32 and computes_natively(device.type, self.dtype)
        return torch.autocast(device.type, self.dtype) if native else nullcontext()

    def convert(self, conversion: Conversion, recurse: bool = True) -> None:
        """Convert the unfolded network too."""
        if self.feature_extractor.model is not self.unfolded[0]:
            convert(self.unfolded[0], conversion, recurse)
        super().convert(conversion, recurse)

    def _check_finite(self, teacher_outputs: Outputs) -> None:
        """Raise NotFinite if an output of the first batch isn't finite (one synchronisation with the device)."""
        self.checked = True
        if not torch.stack(
            [x.isfinite().all() for x in (teacher_outputs.response, *teacher_outputs.features.values())]
        ).all():
            raise NotFinite(
                f"the teacher {type(self.feature_extractor.model).__name__} outputs NaN or infinite numbers; check "
                "its weights, "
                "and that its images are normalised as in its training (tutelage check)."
            )

    def identity(self) -> dict[str, Any]:
        """Return the sha256 of the network's repr and of its weights, and how its inputs are prepared."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.unfolded[0].state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        scale_and_shift = [None if x is None else x.tolist() for x in (self.scale, self.shift)]
        return {
            "network": hashlib.sha256(repr(self.unfolded[0]).encode()).hexdigest(),
            "weights": digest.hexdigest(),
            "scale and shift": scale_and_shift,
            "task": type(self.task).__name__,
            "precision": str(self.dtype),
            "folded": self.folded,
            **({} if self.size is None else {"size": self.size}),
            **({"view": self.view} if self.view else {}),
            **({} if self.rescale is None else {"rescale": self.rescale.tolist()}),
        }

    def profile(self, batch: Batch) -> ModelProfile:
        """Return the network's profile; later outputs have its metadata."""
        try:
            profile = profile_model(self.unfolded[0], self.adapt_inputs(batch))
        except ModelError as error:
            raise ModelError(f"teacher: {error}") from error
        self.metadata = profile.metadata
        return replace(profile, response=self._rescaled(self.task.response(profile.response, batch)))


def describe_untrained_layers(teacher: nn.Module) -> str:
    """Return a description of the teacher's untrained layers; empty if there are none."""
    return " ".join(part.untrained for part in teacher.modules() if isinstance(part, Frozen) and part.untrained)


def _sharing_tensors(model: nn.Module) -> nn.Module:
    """Return a copy of the modules that shares their parameters and buffers."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


@cache
def computes_natively(device: str, dtype: torch.dtype) -> bool:
    """Return True if this kind of device computes in that type without emulation, or if that is unknown."""
    if device != "cpu" or dtype == torch.float32:
        return True
    if dtype == torch.float16:
        return False
    return cpu_computes_bfloat16()


def refuse_precision(precision: str, device: str) -> None:
    """Check that the device computes natively in the teacher's precision.

    Raises: ConfigError that lists the native precisions.
    """
    kind = device.partition(":")[0]
    if not computes_natively(kind, PRECISIONS[precision]):
        native = ["32", "bf16"] if computes_natively(kind, torch.bfloat16) else ["32"]
        raise ConfigError(
            f"teacher_precision={precision}: this {kind.upper()} would only emulate it, many times slower; use "
            f"teacher_precision={' or '.join(native)}, or a GPU (teacher_device=cuda)."
        )
