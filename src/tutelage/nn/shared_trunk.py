"""Several networks that say together; they may share everything before a layer, which then runs once a batch.

While one branch runs, the modules before the layer are remembered; while the others run, the same modules repeat what
they said. So any forward works, in whatever order it calls them, and each branch stays a whole network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any, cast

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError, unknown
from tutelage.nn.feature_extractor import FeatureExtractor, apply_model, eval_no_grad
from tutelage.nn.model_profile import trace
from tutelage.structures import Inputs, Outputs

Kept = dict[nn.Module, list[Any]]


class Branches(nn.Module):
    """Networks of one task by name; forward(inputs) → what each says.

    inputs: for all of them, or a list with each one's own. gradient: what the gradient is multiplied by where it goes
    from a branch into what they share.
    """

    def __init__(self, networks: Mapping[str, nn.Module], gradient: float = 1.0) -> None:
        super().__init__()
        self.students = nn.ModuleDict({name: FeatureExtractor(network) for name, network in networks.items()})
        self.gradient = gradient
        self.split = ""
        self.trunk: dict[str, int] = {}  # the outermost modules before the split, and how often each is called there

    def extractors(self) -> dict[str, FeatureExtractor]:
        """The networks by name."""
        return {name: cast(FeatureExtractor, student) for name, student in self.students.items()}

    def set_captured_layers(self, layers: Sequence[str]) -> None:
        """Capture those layers, and what enters the split, in each."""
        entering = [f"{self.split}:in:patches"] if self.split else []
        for name, student in self.extractors().items():
            self.students[name] = FeatureExtractor(student.close(), (*entering, *layers))

    def forward(self, inputs: Inputs | list[Inputs]) -> list[Outputs]:
        """What each says; what they share runs once if they have the same inputs."""
        students = list(self.extractors().values())
        if isinstance(inputs, list):
            return [self._scaled(student, x) for student, x in zip(students, inputs, strict=True)]
        with remembered(self._shared()) as kept:
            outputs = [self._scaled(students[0], inputs)]
        for student in students[1:]:
            with repeated(kept):
                outputs.append(self._scaled(student, inputs))
        return outputs

    def _shared(self) -> dict[nn.Module, int]:
        first = next(iter(self.extractors().values())).model
        return {first.get_submodule(name): calls for name, calls in self.trunk.items()}

    def _scaled(self, student: FeatureExtractor, inputs: Inputs) -> Outputs:
        """What one says, its gradient scaled as it enters the trunk."""
        if self.gradient == 1.0 or not self.split:
            return student(inputs)
        scale = partial(_scale_first, self.gradient)
        handle = student.model.get_submodule(self.split).register_forward_pre_hook(scale)
        try:
            return student(inputs)
        finally:
            handle.remove()

    def share(self, inputs: Inputs, split: str = "auto") -> None:
        """Let the networks, of one architecture, share all that the first one does before the layer `split`.

        "auto": the first layer after the last stage but one. Where two are copies of each other, what follows is drawn
        anew in the later one.
        Raises: ModelError if they are of several architectures, if there is no such layer or nothing before it, or if
        it is no trunk: branches that share it say something else.
        """
        first, *others = [student.model for student in self.extractors().values()]
        if any(_shapes(other) != _shapes(first) for other in others):
            raise ModelError("branches that share a trunk are of one architecture; name one model (student=…).")
        begins, ends = order(first, inputs)
        self.split = _after_stages(first, inputs, begins, ends) if split == "auto" else split
        if self.split not in begins:
            raise ModelError(unknown("layer", self.split, begins))
        before = {name: [end for end in found if end < begins[self.split][0]] for name, found in ends.items()}
        before = {name: found for name, found in before.items() if found}
        self.trunk = {name: len(found) for name, found in before.items() if not parents(name) & before.keys()}
        single = _alone_before(first, inputs, self.split, list(self.trunk))
        if not self.trunk:
            raise ModelError(f"split={self.split}: no layer comes before it, so there is nothing to share.")
        for k, other in enumerate(others):
            for name in self.trunk:
                other.set_submodule(name, first.get_submodule(name))
            for name in single:
                owner, _, own = name.rpartition(".")
                setattr(other.get_submodule(owner), own, first.get_parameter(name))
            if any(_same(other, earlier) for earlier in (first, *others[:k])):
                _draw_anew(other, first)
        self._check(inputs)

    def _check(self, inputs: Inputs) -> None:
        """Refuse a split at which branches that share say something else than whole networks."""
        with eval_no_grad(self):
            alone = [student(inputs).response for student in self.extractors().values()]
            together = [outputs.response for outputs in self(inputs)]
        if not all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(alone, together, strict=True)):
            raise ModelError(
                f"split={self.split}: the branches say something else when they share what comes before it (it is "
                "overwritten in place, or random); name another layer (tutelage layers MODEL)."
            )


@contextmanager
def remembered(modules: Mapping[nn.Module, int]) -> Iterator[Kept]:
    """What these modules say while it lasts, in as many of their first calls."""
    kept: Kept = {module: [] for module in modules}

    def keep(calls: int, module: nn.Module, args: Any, out: Any) -> None:
        if len(kept[module]) < calls:
            kept[module].append(out)

    handles = [module.register_forward_hook(partial(keep, calls)) for module, calls in modules.items()]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def repeated(kept: Kept) -> Iterator[None]:
    """While it lasts, the modules say again what they said, in the same order; called more often, they run."""
    left = {module: list(outputs) for module, outputs in kept.items()}
    own = {module: vars(module).get("forward") for module in kept}
    for module, outputs in left.items():
        module.forward = partial(_again, module.forward, outputs)
    try:
        yield
    finally:
        for module, forward in own.items():
            del module.forward
            if forward is not None:
                module.forward = forward
    if any(left.values()):
        raise ModelError(
            "the branches don't all call what they share: their forwards depend on chance or on values, or they are "
            "compiled; use another model, or compile=false."
        )


def _again(forward: Callable[..., Any], outputs: list[Any], *args: Any, **kwargs: Any) -> Any:
    return outputs.pop(0) if outputs else forward(*args, **kwargs)


class _Scale(torch.autograd.Function):
    """The same value; its gradient times a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0] * ctx.factor, None


def _scale_first(factor: float, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (_Scale.apply(args[0], factor), *args[1:])


def order(model: nn.Module, inputs: Inputs) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """When each module's calls begin and end in one forward."""
    begins: dict[str, list[int]] = {}
    ends: dict[str, list[int]] = {}
    clock = count()
    handles = []
    for name, module in model.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(partial(_note, begins, clock, name)))
            handles.append(module.register_forward_hook(partial(_note, ends, clock, name)))
    try:
        with eval_no_grad(model):
            apply_model(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return begins, ends


def _note(times: dict[str, list[int]], clock: Iterator[int], name: str, *args: Any) -> None:
    times.setdefault(name, []).append(next(clock))


def _after_stages(
    model: nn.Module, inputs: Inputs, begins: Mapping[str, list[int]], ends: Mapping[str, list[int]]
) -> str:
    """The first layer that begins after the last stage but one has ended."""
    stages = [layer.name for layer in trace(model, inputs) if layer.stage is not None]
    if len(stages) < 2:
        raise ModelError(f"{type(model).__name__} has no two stages: name the layer where it splits (split=…).")
    until = ends[stages[-2]][-1]
    later = {name: found[0] for name, found in begins.items() if found[0] > until}
    return min(later, key=lambda name: later[name])


def parents(name: str) -> set[str]:
    """The names of all modules that a module is in."""
    parts = name.split(".")
    return {".".join(parts[:k]) for k in range(1, len(parts))}


def _alone_before(model: nn.Module, inputs: Inputs, split: str, trunk: Sequence[str]) -> list[str]:
    """The parameters before the split that aren't in a module of the trunk, such as a class token."""
    tapped = FeatureExtractor(model, [f"{split}:in"])
    rest = {
        name: p
        for name, p in model.named_parameters()
        if p.requires_grad and not any(name.startswith(f"{module}.") for module in trunk)
    }
    try:
        with eval_no_grad(model), torch.enable_grad():
            entering = tapped(inputs)[f"{split}:in"]
    finally:
        tapped.close()
    if not rest or not entering.requires_grad:
        return []
    found = torch.autograd.grad(entering.sum(), list(rest.values()), allow_unused=True)
    return [name for name, gradient in zip(rest, found, strict=True) if gradient is not None]


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: p.shape for name, p in model.named_parameters()}


def _same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def _draw_anew(network: nn.Module, first: nn.Module) -> None:
    """New parameters for every layer that isn't shared.

    Raises: ModelError if none of them can draw its own.
    """
    shared = set(first.modules())
    for module in network.modules():
        reset = getattr(module, "reset_parameters", None)
        if module not in shared and callable(reset):
            reset()
    if _same(network, first):
        raise ModelError(
            f"{type(network).__name__}: the branches would begin alike, and none of the layers after the split has "
            "reset_parameters; name an earlier split, or give the model by its name."
        )
