"""Reference vectors: inputs, hyper-parameters, and the loss and gradients of a published implementation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import DataError


class TrackedDict(dict[str, Any]):
    """A dict that records which names were read, in `used`; the result of `|` shares that record."""

    def __init__(self, values: Mapping[str, Any], used: set[str] | None = None) -> None:
        super().__init__(values)
        self.used: set[str] = set() if used is None else used

    def __getitem__(self, name: str) -> Any:
        self.used.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value as a dict does, and record the name."""
        self.used.add(name)
        return super().get(name, default)

    def __or__(self, other: Mapping[str, Any]) -> TrackedDict:  # type: ignore[override]
        return TrackedDict({**self, **other}, self.used)

    def integer(self, name: str) -> int:
        """Return a whole number.

        Raises: DataError if it is anything else.
        """
        value = self[name]
        if type(value) is not int:
            raise DataError(f"hyper-parameter {name}={value!r}: expected a whole number.")
        return value

    def one_of(self, name: str, *choices: str) -> str:
        """Return a value that must be one of the choices.

        Raises: DataError if it is anything else.
        """
        value = self[name]
        if value not in choices:
            raise DataError(f"hyper-parameter {name}={value!r}: expected {', '.join(choices)}.")
        return str(value)


@dataclass(frozen=True)
class Vector:
    """A vector's file: method, kind, hyper-parameters, inputs and expected values, as float64 tensors by dotted name.

    Items of lists are numbered: `student_features.0`; those of dicts are named: `extra.index`,
    `parameters.conv.weight`.
    """

    path: Path
    method: str
    kind: str
    hyper: TrackedDict
    inputs: TrackedDict
    loss: float
    parts: dict[str, Any]
    gradients: dict[str, Tensor]
    near_zero: frozenset[str]

    def get(self, name: str) -> Tensor | None:
        """Return an input by its dotted name, or None."""
        return self.inputs.get(name)

    def under(self, name: str) -> dict[str, Tensor]:
        """Return the inputs `name.…` by the rest of their names, and record them as used."""
        inputs = self.among(name)
        self.inputs.used.update(f"{name}.{key}" for key in inputs)
        return inputs

    def among(self, name: str) -> dict[str, Tensor]:
        """Return the inputs `name.…` by the rest of their names, without recording them as used."""
        return {key.removeprefix(f"{name}."): x for key, x in self.inputs.items() if key.startswith(f"{name}.")}

    def side(self, name: str) -> list[Tensor]:
        """Return the numbered list of inputs, or the one input, of that name; empty if there is none."""
        tensor = self.get(name)
        return [tensor] if tensor is not None else list(self.under(name).values())


def read(path: Path) -> Vector:
    """Read a vector's file.

    Raises: DataError if the file is no reference vector.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        expected = dict(raw["expected"])
        gradients = {k.removeprefix("grad_"): v for k, v in expected.items() if k.startswith("grad_")}
        return Vector(
            path,
            raw["method"],
            raw["kind"],
            TrackedDict({name: _plain(value) for name, value in (raw.get("hyperparameters") or {}).items()}),
            TrackedDict(_tensors(raw["inputs"])),
            float(expected["loss"]),
            expected.get("parts") or {},
            _tensors(gradients),
            frozenset((expected.get("near_zero_gradients") or {}).get("names", ())),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no reference vector: {type(error).__name__}: {error}.") from error


def _plain(value: Any) -> Any:
    """Return a hyper-parameter, as a tensor if it is stored as one."""
    return _tensor(value) if isinstance(value, dict) and "data" in value else value


def _tensor(value: Mapping[str, Any]) -> Tensor:
    return torch.tensor(value["data"], dtype=getattr(torch, value["dtype"])).reshape(value["shape"])


def _tensors(value: Any, prefix: str = "") -> dict[str, Tensor]:
    """Flatten nested lists and dicts of {dtype, shape, data} to tensors by dotted name."""
    if value is None:
        return {}
    if isinstance(value, dict) and "data" in value and "shape" in value:
        return {prefix.removesuffix("."): _tensor(value)}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {name: x for key, item in items for name, x in _tensors(item, f"{prefix}{key}.").items()}
