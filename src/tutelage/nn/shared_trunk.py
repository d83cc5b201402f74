"""Several networks that can share all modules before a given layer, so that these run once per batch.

While the first branch runs, the outputs of the modules before the layer are recorded; while the other branches run, the
same modules replay them. So forwards may call their modules in any order, and each branch remains a complete network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError, unknown
from tutelage.nn.feature_extractor import FeatureExtractor, eval_no_grad
from tutelage.nn.model_profile import record_call_times, trace_layers
from tutelage.nn.replay import record_outputs, replay_outputs
from tutelage.nn.stages import parent_names
from tutelage.structures import Inputs, Outputs


class Branches(nn.Module):
    """Networks of one task by name; forward(inputs) → the outputs of each.

    inputs: one batch for all networks, or a list with a batch for each.

    Args:
        networks: The networks by name.
        gradient: The factor of the gradient where it flows from a branch into the shared trunk.
    """

    def __init__(self, networks: Mapping[str, nn.Module], gradient: float = 1.0) -> None:
        super().__init__()
        self.students = nn.ModuleDict({name: FeatureExtractor(network) for name, network in networks.items()})
        self.gradient = gradient
        self.split = ""
        self.trunk: dict[str, int] = {}  # the outermost modules before the split, and their calls there

    def extractors(self) -> dict[str, FeatureExtractor]:
        """Return the networks by name."""
        return {name: cast(FeatureExtractor, student) for name, student in self.students.items()}

    def set_captured_layers(self, layers: Sequence[str]) -> None:
        """Capture these layers, and the input of the split, in each network."""
        split_input = [f"{self.split}:in:patches"] if self.split else []
        for name, student in self.extractors().items():
            self.students[name] = FeatureExtractor(student.close(), (*split_input, *layers))

    def forward(self, inputs: Inputs | list[Inputs]) -> list[Outputs]:
        """Return the outputs of each network; the shared trunk runs once if all have the same inputs."""
        students = list(self.extractors().values())
        if isinstance(inputs, list):
            return [self._run(student, x) for student, x in zip(students, inputs, strict=True)]
        with record_outputs(self._trunk_modules()) as recording:
            outputs = [self._run(students[0], inputs)]
        for student in students[1:]:
            with replay_outputs(recording):
                outputs.append(self._run(student, inputs))
        return outputs

    def _trunk_modules(self) -> dict[nn.Module, int]:
        first = next(iter(self.extractors().values())).model
        return {first.get_submodule(name): calls for name, calls in self.trunk.items()}

    def _run(self, student: FeatureExtractor, inputs: Inputs) -> Outputs:
        """Run one network, with its gradient scaled where it enters the trunk."""
        if self.gradient == 1.0 or not self.split:
            return student(inputs)
        scale = partial(_scale_gradient, self.gradient)
        handle = student.model.get_submodule(self.split).register_forward_pre_hook(scale)
        try:
            return student(inputs)
        finally:
            handle.remove()

    def share_trunk(self, inputs: Inputs, split: str = "auto") -> None:
        """Let the networks, of one architecture, share all modules of the first that run before the layer `split`.

        If two networks have equal parameters, the layers after the split are reinitialised in the later one.

        Args:
            inputs: An example batch.
            split: The layer that begins the branches; "auto": the first layer after the second-to-last stage.

        Raises: ModelError if the architectures differ, if there is no such layer or none before it, or if the outputs
        of the branches change when they share the modules before it.
        """
        first, *rest = [student.model for student in self.extractors().values()]
        if any(_shapes(network) != _shapes(first) for network in rest):
            raise ModelError("branches that share a trunk need one architecture; name one model (student=…).")
        begins, ends = record_call_times(first, inputs)
        self.split = _after_stages(first, inputs, begins, ends) if split == "auto" else split
        if self.split not in begins:
            raise ModelError(unknown("layer", self.split, begins))
        before = {name: [end for end in times if end < begins[self.split][0]] for name, times in ends.items()}
        before = {name: times for name, times in before.items() if times}
        self.trunk = {name: len(times) for name, times in before.items() if not parent_names(name) & before.keys()}
        parameters = _parameters_before(first, inputs, self.split, list(self.trunk))
        if not self.trunk:
            raise ModelError(
                f"split={self.split}: no layer runs before it, so there is nothing to share; name a later layer."
            )
        for k, network in enumerate(rest):
            for name in self.trunk:
                network.set_submodule(name, first.get_submodule(name))
            for name in parameters:
                owner, _, attribute = name.rpartition(".")
                setattr(network.get_submodule(owner), attribute, first.get_parameter(name))
            if any(_equal(network, earlier) for earlier in (first, *rest[:k])):
                _reinitialise(network, first)
        self._check(inputs)

    def _check(self, inputs: Inputs) -> None:
        """Raise ModelError if the branches' outputs with the shared trunk differ from the separate networks'."""
        with eval_no_grad(self):
            separate = [student(inputs).response for student in self.extractors().values()]
            shared = [outputs.response for outputs in self(inputs)]
        if not all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(separate, shared, strict=True)):
            raise ModelError(
                f"split={self.split}: the branches' outputs change when they share the modules before it (its input is "
                "overwritten in place, or random); name another layer (tutelage layers MODEL)."
            )


class _Scale(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0] * ctx.factor, None


def _scale_gradient(factor: float, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (_Scale.apply(args[0], factor), *args[1:])


def _after_stages(
    model: nn.Module, inputs: Inputs, begins: Mapping[str, list[int]], ends: Mapping[str, list[int]]
) -> str:
    """The first layer that begins after the second-to-last stage has ended."""
    stages = [layer.name for layer in trace_layers(model, inputs) if layer.stage is not None]
    if len(stages) < 2:
        raise ModelError(
            f"{type(model).__name__} has fewer than two stages: name the layer where the branches begin (split=…)."
        )
    trunk_end = ends[stages[-2]][-1]
    later = {name: times[0] for name, times in begins.items() if times[0] > trunk_end}
    return min(later, key=lambda name: later[name])


def _parameters_before(model: nn.Module, inputs: Inputs, split: str, trunk: Sequence[str]) -> list[str]:
    """Names of the parameters before the split that no module of the trunk contains, such as a class token."""
    extractor = FeatureExtractor(model, [f"{split}:in"])
    candidates = {
        name: p
        for name, p in model.named_parameters()
        if p.requires_grad and not any(name.startswith(f"{module}.") for module in trunk)
    }
    try:
        with eval_no_grad(model), torch.enable_grad():
            split_input = extractor(inputs)[f"{split}:in"]
    finally:
        extractor.close()
    if not candidates or not split_input.requires_grad:
        return []
    gradients = torch.autograd.grad(split_input.sum(), list(candidates.values()), allow_unused=True)
    return [name for name, gradient in zip(candidates, gradients, strict=True) if gradient is not None]


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: p.shape for name, p in model.named_parameters()}


def _equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def _reinitialise(network: nn.Module, first: nn.Module) -> None:
    """Reinitialise every layer that isn't shared.

    Raises: ModelError if none of these layers can reset its parameters.
    """
    shared = set(first.modules())
    for module in network.modules():
        reset = getattr(module, "reset_parameters", None)
        if module not in shared and callable(reset):
            reset()
    if _equal(network, first):
        raise ModelError(
            f"{type(network).__name__}: the branches would start with equal parameters, since none of the layers "
            "after the "
            "split has reset_parameters; name an earlier split, or pass the model by its name."
        )
