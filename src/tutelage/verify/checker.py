"""Computes a vector's method with the catalogue's losses in float64; compares the loss, its parts and all gradients."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, DataError, TutelageError
from tutelage.losses.base import Loss
from tutelage.nn import connectors
from tutelage.utils import registry
from tutelage.utils.options import parameter_adapters, unmet_expectation
from tutelage.verify import references
from tutelage.verify.reference import Reference
from tutelage.verify.vector import Vector, read

LOSS_TOLERANCE = 1e-6
GRADIENT_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Outcome:
    """The result of one vector, which passed if there are no faults."""

    name: str
    faults: tuple[str, ...]


def verify(folder: Path) -> Iterator[Outcome]:
    """Check every vector in a folder, or one vector's file.

    Args:
        folder: a folder of reference vectors (`*.json`), or the path of one.

    Yields: an outcome per vector, in the order of file names.

    Raises: DataError if there are no vectors.
    """
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else [folder]
    if not paths or not paths[0].is_file():
        raise DataError(f"{folder} holds no vectors (*.json); give a folder of reference vectors.")
    for path in paths:
        yield check_vector(path)


def check_vector(path: Path) -> Outcome:
    """Check one vector."""
    try:
        vector = read(path)
        return Outcome(path.stem, tuple(VectorCheck(vector).faults()))
    except TutelageError as error:
        return Outcome(path.stem, (str(error),))
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        message = str(error).partition("\n")[0]
        fault = f"its inputs and hyper-parameters don't fit together ({type(error).__name__}: {message})"
        return Outcome(path.stem, (fault,))


@cache
def reference_table() -> dict[str, Reference]:
    """Return all references by the published method's name."""
    table: dict[str, Reference] = {}
    for file in iter_modules(references.__path__):
        table |= import_module(f"{references.__name__}.{file.name}").REFERENCES
    return table


class VectorCheck:
    """One vector, computed with the catalogue's losses."""

    def __init__(self, vector: Vector) -> None:
        self.reference = reference = reference_table().get(vector.method, Reference())
        self.input_names = list(vector.inputs)
        if reference.derive:
            for x in vector.inputs.values():
                x.requires_grad_(x.is_floating_point())
            vector = reference.derive(vector)
        self.vector = vector
        combined = reference.combine(vector) if reference.combine else [(1.0, reference)]
        self.parts = [(weight, LossEvaluation(vector, part)) for weight, part in combined]

    def faults(self) -> Iterator[str]:
        """Yield the differences from the published numbers, and the names that nothing used."""
        vector = self.vector
        leaves = {name: x for name, x in vector.inputs.items() if x.is_floating_point()}
        leaves |= {name: x for _, part in self.parts for name, x in part.parameters().items()}
        for leaf in leaves.values():
            leaf.requires_grad_()
        value = sum((weight * part.value() for weight, part in self.parts), torch.zeros((), dtype=torch.float64))
        value = value + self.reference.extra_loss(vector)
        if not abs(value.item() - vector.loss) <= LOSS_TOLERANCE * max(abs(vector.loss), 1e-6):
            yield f"loss {value.item():.10g}, expected {vector.loss:.10g}"
        missing = vector.gradients.keys() - leaves.keys()
        if missing:
            yield f"no gradient for {', '.join(sorted(missing))}"
        names = [name for name in vector.gradients if name in leaves]
        grads = torch.autograd.grad(value, [leaves[n] for n in names], allow_unused=True) if names else ()
        for name, grad in zip(names, grads, strict=True):
            yield from self._compare(name, grad, vector.gradients[name])
        for _, part in self.parts:
            yield from part.state_faults()
        for name, value in vector.hyper.items():
            if value is not None and name not in vector.hyper.used and name not in self.reference.ignored:
                yield f"hyper-parameter {name} isn't used"
        for name in self.input_names:
            if name not in vector.inputs.used and not {name, name.rpartition(".")[0]} & {*self.reference.ignored}:
                yield f"input {name} isn't used"

    def _compare(self, name: str, grad: Tensor | None, expected: Tensor) -> Iterator[str]:
        grad = torch.zeros_like(expected) if grad is None else grad
        largest = expected.abs().max().item()
        scale = 1.0 if name in self.vector.near_zero else largest
        difference = (grad - expected).abs().max().item()
        if not difference <= GRADIENT_TOLERANCE * scale + 1e-12:
            yield f"gradient of {name} differs by {difference:.3g}, its largest entry is {largest:.3g}"


class LossEvaluation:
    """One of the catalogue's losses on a vector's inputs."""

    def __init__(self, vector: Vector, reference: Reference) -> None:
        self.vector, self.reference = vector, reference
        cls = registry.find_entry("losses", reference.loss or vector.method).load()
        options = reference.options(vector) if callable(reference.options) else reference.options
        self.loss: Loss = cls(**self._fields(cls) | dict(options)).double()
        self.student = self._side(reference.student, "student")
        self.teacher = self._side(reference.teacher, "teacher")
        self.connector: nn.Module = nn.Identity()
        samples = reference.samples
        self._build(int(samples(vector) if callable(samples) else vector.hyper.get(samples, 0)))
        self.loss_kwargs = reference.prepare_inputs(vector, self._loss_kwargs())

    def _fields(self, cls: Any) -> dict[str, Any]:
        """Return the hyper-parameters that are valid values of the loss's fields; other fields keep their defaults."""
        kinds, _ = parameter_adapters(cls)
        fields: dict[str, Any] = {}
        for name, value in self.vector.hyper.items():
            field = self.reference.fields.get(name, name)
            value = value.tolist() if isinstance(value, Tensor) else value
            if field in kinds and not unmet_expectation(kinds[field], value):
                fields[field] = value
                self.vector.hyper.used.add(name)
        return fields

    def _side(self, names: str, role: str) -> list[Tensor]:
        if names:
            return [x for name in names.split() for x in self.vector.side(name)]
        return self.vector.side(f"{role}_features") or self.vector.side(f"{role}_logits")

    def _pairs(self) -> list[tuple[Any, Any]]:
        sides = self.reference.convert_side
        student, teacher = sides(self.student), (self.reference.convert_teacher_side or sides)(self.teacher)
        if self.loss.compares == "review" or self.reference.one_call:
            return [(student, teacher)]
        teachers: list[Any] = teacher or [None] * len(student)
        if len(student) != len(teachers):
            raise ConfigError(f"{len(student)} inputs of the student and {len(teachers)} of the teacher don't pair")
        return list(zip(student, teachers, strict=True))

    def _build(self, samples: int) -> None:
        """Build the learned parts, then load the vector's weights into them."""
        student, teacher = self._pairs()[0]
        if self.reference.connector:
            connector = self.reference.connector
            connector = connector if isinstance(connector, str) else connector(self.vector)
            self.connector = connectors.build_connector(connector, student, teacher).double()
            with torch.no_grad():
                student = self.connector(student)
        self.loss.build(student, teacher, samples)
        for name, function_for in self.reference.stand_ins.items():
            setattr(self.loss, name, StandIn(function_for(self.vector)))
        self.loss.double()
        self._load_state()
        self.reference.prepare_loss(self.vector, self.loss)

    def _load_state(self) -> None:
        """Copy the vector's weights and numbers into the parameters and buffers of their name and shape."""
        self.state: dict[str, str] = {}
        state = {**self.connector.state_dict(), **self.loss.state_dict()}
        sources = {prefix: self.vector.among(prefix) for prefix in ("parameters", "extra")}
        hyper = self.vector.hyper
        sources["hyper"] = {
            k: torch.tensor(v, dtype=torch.float64) for k, v in hyper.items() if type(v) in (int, float)
        }
        for prefix, values in sources.items():
            for name, value in values.items():
                key = self._state_key(name)
                if key in state and state[key].shape == value.shape:
                    state[key].copy_(value)
                    full_name = f"{prefix}.{name}"
                    self.state[full_name] = key
                    hyper.used.add(full_name.removeprefix("hyper."))
                    self.vector.inputs.used.add(full_name)

    def _state_key(self, name: str) -> str:
        """Return the state-dict key of a published weight or buffer."""
        state = self.reference.state
        for pattern, replacement in (state(self.vector) if callable(state) else state).items():
            name = re.sub(pattern, replacement, name)
        return name

    def _loss_kwargs(self) -> dict[str, Any]:
        """Return the loss's required inputs, from the target, the extra inputs and the hyper-parameters."""
        vector, renames = self.vector, self.reference.renames
        hyper_names = {self.reference.fields.get(name, name): name for name in vector.hyper}
        hyper_names |= {keyword: name for name, keyword in renames.items() if name in vector.hyper}
        paths = {name.removeprefix("extra."): name for name in vector.inputs}
        paths |= {name: name for name in vector.inputs} | {"targets": "target"}
        paths |= {keyword: paths.get(name, name) for name, keyword in renames.items() if name not in vector.hyper}
        keywords = (*self.loss.required_inputs(), *self.loss.required_inputs(optional=True))
        values = {name: vector.hyper[hyper_names[name]] for name in keywords if name in hyper_names}
        values |= {name: self._input(paths[name]) for name in keywords if name in paths}
        return {name: value for name, value in values.items() if value is not None}

    def _input(self, path: str) -> Any:
        """Return an input or a list of inputs; None for the target of a vector that has none."""
        tensors = self.vector.side(path) or self.vector.side(f"extra.{path}")
        if not tensors and path != "target":
            raise DataError(f"the vector has no input {path!r}")
        return (tensors[0] if path in self.vector.inputs else tensors) if tensors else None

    def value(self) -> Tensor:
        """Return the loss, reduced as in the published code."""
        total = torch.zeros((), dtype=torch.float64)
        for student, teacher in self._pairs():
            student = self.connector(student) if self.reference.connector else student
            values = self.loss(student, teacher, **self.loss_kwargs)
            for part in values.values() if isinstance(values, dict) else [values]:
                total = total + self.reference.reduce(part)
        return total * self.reference.scale(self.vector)

    def parameters(self) -> dict[str, Tensor]:
        """Return the parameters into which the vector's weights were loaded, by the vector's names."""
        parameters = {**dict(self.connector.named_parameters()), **dict(self.loss.named_parameters())}
        return {name: parameters[key] for name, key in self.state.items() if key in parameters}

    def state_faults(self) -> Iterator[str]:
        """Yield faults of buffers whose new values the vector lists (as `NAME_after`, or by name among its parts)."""
        state = self.loss.state_dict()
        for name, expected in self.vector.parts.items():
            key = self._state_key(name).removesuffix("_after")
            if key not in state or not isinstance(expected, dict | float | int):
                continue
            value = expected["data"] if isinstance(expected, dict) else expected
            published = torch.as_tensor(value, dtype=torch.float64)
            if published.numel() != state[key].numel():
                yield f"{name} has {published.numel()} numbers, expected {state[key].numel()} for these options"
                continue
            published = published.reshape(state[key].shape)
            if not torch.allclose(state[key].double(), published, rtol=1e-6, atol=1e-9):
                yield f"{name} differs by {(state[key] - published).abs().max().item():.3g}"


class StandIn(nn.Module):
    """A module that replaces a learned part by a function."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the function's output."""
        return self.function(*inputs)
