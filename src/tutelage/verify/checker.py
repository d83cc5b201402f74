"""Computes a vector's method with the catalogue's loss in float64, and compares the loss, parts and every gradient."""

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
from tutelage.utils.options import fault, taken
from tutelage.verify import references
from tutelage.verify.reference import Reference
from tutelage.verify.vector import Vector, read

LOSS_TOLERANCE = 1e-6
GRADIENT_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Outcome:
    """What came of one vector: no fault means that it passed."""

    name: str
    faults: tuple[str, ...]


def verify(folder: Path) -> Iterator[Outcome]:
    """Check every vector in a folder.

    Raises: DataError if there is none.
    """
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else [folder]
    if not paths or not paths[0].is_file():
        raise DataError(f"{folder} holds no vectors (*.json); give a folder of reference vectors.")
    for path in paths:
        yield judge(path)


def judge(path: Path) -> Outcome:
    """Check one vector."""
    try:
        vector = read(path)
        return Outcome(path.stem, tuple(VectorCheck(vector).faults()))
    except TutelageError as error:
        return Outcome(path.stem, (str(error),))
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        said = str(error).partition("\n")[0]
        fault = f"its inputs and hyper-parameters don't go together ({type(error).__name__}: {said})"
        return Outcome(path.stem, (fault,))


@cache
def table() -> dict[str, Reference]:
    """Every row, by the published method's name."""
    found: dict[str, Reference] = {}
    for file in iter_modules(references.__path__):
        found |= import_module(f"{references.__name__}.{file.name}").ROWS
    return found


class VectorCheck:
    """One vector, computed with our losses."""

    def __init__(self, vector: Vector) -> None:
        self.row = row = table().get(vector.method, Reference())
        self.given = list(vector.inputs)
        if row.derive:
            for x in vector.inputs.values():
                x.requires_grad_(x.is_floating_point())
            vector = row.derive(vector)
        self.vector = vector
        weighed = row.combine(vector) if row.combine else [(1.0, row)]
        self.parts = [(weight, LossEvaluation(vector, one)) for weight, one in weighed]

    def faults(self) -> Iterator[str]:
        """What differs, with the figures."""
        vector = self.vector
        leaves = {name: x for name, x in vector.inputs.items() if x.is_floating_point()}
        leaves |= {name: x for _, part in self.parts for name, x in part.learned().items()}
        for leaf in leaves.values():
            leaf.requires_grad_()
        value = sum((weight * part.value() for weight, part in self.parts), torch.zeros((), dtype=torch.float64))
        value = value + self.row.added(vector)
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
            if value is not None and name not in vector.hyper.asked and name not in self.row.describes:
                yield f"hyper-parameter {name} isn't used"
        for name in self.given:
            if name not in vector.inputs.asked and not {name, name.rpartition(".")[0]} & {*self.row.describes}:
                yield f"input {name} isn't used"

    def _compare(self, name: str, grad: Tensor | None, expected: Tensor) -> Iterator[str]:
        grad = torch.zeros_like(expected) if grad is None else grad
        scale = 1.0 if name in self.vector.near_zero else expected.abs().max().item()
        off = (grad - expected).abs().max().item()
        if not off <= GRADIENT_TOLERANCE * scale + 1e-12:
            yield f"gradient of {name} differs by {off:.3g}, its largest entry is {expected.abs().max().item():.3g}"


class LossEvaluation:
    """One of our losses on a vector's inputs."""

    def __init__(self, vector: Vector, row: Reference) -> None:
        self.vector, self.row = vector, row
        cls = registry.find("losses", row.loss or vector.method).load()
        options = row.options(vector) if callable(row.options) else row.options
        self.loss: Loss = cls(**self._fields(cls) | dict(options)).double()
        self.student = self._side(row.student, "student")
        self.teacher = self._side(row.teacher, "teacher")
        self.connector: nn.Module = nn.Identity()
        self._make(int(row.samples(vector) if callable(row.samples) else vector.hyper.get(row.samples, 0)))
        self.asked = row.prepare(vector, self._asked())

    def _fields(self, cls: Any) -> dict[str, Any]:
        """The hyper-parameters that are the loss's fields and fit; others leave them at their defaults."""
        kinds, _ = taken(cls)
        found: dict[str, Any] = {}
        for theirs, value in self.vector.hyper.items():
            ours = self.row.fields.get(theirs, theirs)
            value = value.tolist() if isinstance(value, Tensor) else value
            if ours in kinds and not fault(kinds[ours], value):
                found[ours] = value
                self.vector.hyper.asked.add(theirs)
        return found

    def _side(self, name: str, role: str) -> list[Tensor]:
        if name:
            return [x for one in name.split() for x in self.vector.side(one)]
        return self.vector.side(f"{role}_features") or self.vector.side(f"{role}_logits")

    def _pairs(self) -> list[tuple[Any, Any]]:
        student, told = self.row.sides(self.student), (self.row.teacher_sides or self.row.sides)(self.teacher)
        if self.loss.compares == "review" or self.row.together:
            return [(student, told)]
        teacher: list[Any] = told or [None] * len(student)
        if len(student) != len(teacher):
            raise ConfigError(f"{len(student)} student inputs and {len(teacher)} of the teacher don't pair")
        return list(zip(student, teacher, strict=True))

    def _make(self, samples: int) -> None:
        """Build the learned parts, then give them the vector's weights."""
        student, teacher = self._pairs()[0]
        if self.row.connector:
            made = self.row.connector
            made = made if isinstance(made, str) else made(self.vector)
            self.connector = connectors.make(made, student, teacher).double()
            with torch.no_grad():
                student = self.connector(student)
        self.loss.build(student, teacher, samples)
        for name, make in self.row.stand_ins.items():
            setattr(self.loss, name, StandIn(make(self.vector)))
        self.loss.double()
        self.state: dict[str, str] = {}
        state = {**self.connector.state_dict(), **self.loss.state_dict()}
        given = {prefix: self.vector.among(prefix) for prefix in ("parameters", "extra")}
        hyper = self.vector.hyper
        given["hyper"] = {k: torch.tensor(v, dtype=torch.float64) for k, v in hyper.items() if type(v) in (int, float)}
        for prefix, values in given.items():
            for name, value in values.items():
                ours = self._ours(name)
                if ours in state and state[ours].shape == value.shape:
                    state[ours].copy_(value)
                    full = f"{prefix}.{name}"
                    self.state[full] = ours
                    hyper.asked.add(full.removeprefix("hyper."))
                    self.vector.inputs.asked.add(full)
        self.row.before(self.vector, self.loss)

    def _ours(self, name: str) -> str:
        state = self.row.state
        for pattern, replacement in (state(self.vector) if callable(state) else state).items():
            name = re.sub(pattern, replacement, name)
        return name

    def _asked(self) -> dict[str, Any]:
        """What the loss asks by keyword, from the target, the extra inputs and the hyper-parameters."""
        vector, asks = self.vector, self.row.renames
        named = {self.row.fields.get(name, name): name for name in vector.hyper}
        named |= {ours: theirs for theirs, ours in asks.items() if theirs in vector.hyper}
        places = {name.removeprefix("extra."): name for name in vector.inputs}
        places |= {name: name for name in vector.inputs} | {"targets": "target"}
        places |= {ours: places.get(theirs, theirs) for theirs, ours in asks.items() if theirs not in vector.hyper}
        wanted = (*self.loss.required_inputs(), *self.loss.required_inputs(optional=True))
        found = {name: vector.hyper[named[name]] for name in wanted if name in named}
        found |= {name: self._input(places[name]) for name in wanted if name in places}
        return {name: value for name, value in found.items() if value is not None}

    def _input(self, place: str) -> Any:
        """An input, or a list of them; none if the vector has no such ground truth."""
        found = self.vector.side(place) or self.vector.side(f"extra.{place}")
        if not found and place != "target":
            raise DataError(f"the vector has no input {place!r}")
        return (found[0] if place in self.vector.inputs else found) if found else None

    def value(self) -> Tensor:
        """The loss, reduced as the published code does."""
        total = torch.zeros((), dtype=torch.float64)
        for student, teacher in self._pairs():
            student = self.connector(student) if self.row.connector else student
            values = self.loss(student, teacher, **self.asked)
            for part in values.values() if isinstance(values, dict) else [values]:
                total = total + self.row.reduce(part)
        return total * self.row.scale(self.vector)

    def learned(self) -> dict[str, Tensor]:
        """The weights of ours that stand for inputs of the vector, by the vector's name."""
        learned = {**dict(self.connector.named_parameters()), **dict(self.loss.named_parameters())}
        return {name: learned[ours] for name, ours in self.state.items() if ours in learned}

    def state_faults(self) -> Iterator[str]:
        """Buffers that the vector says are changed (`NAME_after`, or a buffer's own name among its parts)."""
        state = self.loss.state_dict()
        for name, expected in self.vector.parts.items():
            ours = self._ours(name).removesuffix("_after")
            if ours not in state or not isinstance(expected, dict | float | int):
                continue
            value = expected["data"] if isinstance(expected, dict) else expected
            wanted = torch.as_tensor(value, dtype=torch.float64)
            if wanted.numel() != state[ours].numel():
                yield f"{name} has {wanted.numel()} numbers, and {state[ours].numel()} by these hyper-parameters"
                continue
            wanted = wanted.reshape(state[ours].shape)
            if not torch.allclose(state[ours].double(), wanted, rtol=1e-6, atol=1e-9):
                yield f"{name} differs by {(state[ours] - wanted).abs().max().item():.3g}"


class StandIn(nn.Module):
    """A learned part that gives what is given."""

    def __init__(self, gives: Callable[..., Tensor]) -> None:
        super().__init__()
        self.gives = gives

    def forward(self, *inputs: Tensor) -> Tensor:
        """Whatever the inputs are."""
        return self.gives(*inputs)
