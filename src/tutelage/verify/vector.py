"""A reference vector: inputs, hyper-parameters, and the loss and gradients that a published implementation gave."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import DataError


class Noted(dict[str, Any]):
    """Values by name, which note what was asked for; so does what they are joined to."""

    def __init__(self, given: Mapping[str, Any], asked: set[str] | None = None) -> None:
        super().__init__(given)
        self.asked: set[str] = set() if asked is None else asked

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict, noted too."""
        self.asked.add(name)
        return super().get(name, default)

    def __or__(self, others: Mapping[str, Any]) -> Noted:  # type: ignore[override]
        return Noted({**self, **others}, self.asked)

    def whole(self, name: str) -> int:
        """A whole number.

        Raises: DataError if it is anything else.
        """
        value = self[name]
        if type(value) is not int:
            raise DataError(f"hyper-parameter {name}={value!r}: expected a whole number.")
        return value

    def one_of(self, name: str, *words: str) -> str:
        """One of these words.

        Raises: DataError if it is anything else.
        """
        value = self[name]
        if value not in words:
            raise DataError(f"hyper-parameter {name}={value!r}: expected {', '.join(words)}.")
        return str(value)


@dataclass(frozen=True)
class Vector:
    """One file: method, kind, hyper-parameters, inputs and expected as float64 tensors, by dotted name.

    A list's items are numbered: `student_features.0`; dicts' are named: `extra.index`, `parameters.conv.weight`.
    """

    path: Path
    method: str
    kind: str
    hyper: Noted
    inputs: Noted
    loss: float
    parts: dict[str, Any]
    gradients: dict[str, Tensor]
    near_zero: frozenset[str]

    def get(self, name: str) -> Tensor | None:
        """An input by its dotted name."""
        return self.inputs.get(name)

    def under(self, name: str) -> dict[str, Tensor]:
        """The inputs `name.…`, by the rest of their names."""
        found = self.among(name)
        self.inputs.asked.update(f"{name}.{key}" for key in found)
        return found

    def among(self, name: str) -> dict[str, Tensor]:
        """The same, to look through: which are used isn't said yet."""
        return {key.removeprefix(f"{name}."): x for key, x in self.inputs.items() if key.startswith(f"{name}.")}

    def side(self, name: str) -> list[Tensor]:
        """A numbered list of inputs, or the one input, of that name; empty if there is none."""
        one = self.get(name)
        return [one] if one is not None else list(self.under(name).values())


def read(path: Path) -> Vector:
    """Read a vector's file.

    Raises: DataError if it isn't one.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        expected = dict(raw["expected"])
        gradients = {k.removeprefix("grad_"): v for k, v in expected.items() if k.startswith("grad_")}
        return Vector(
            path,
            raw["method"],
            raw["kind"],
            Noted({name: _plain(value) for name, value in (raw.get("hyperparameters") or {}).items()}),
            Noted(_tensors(raw["inputs"])),
            float(expected["loss"]),
            expected.get("parts") or {},
            _tensors(gradients),
            frozenset((expected.get("near_zero_gradients") or {}).get("names", ())),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no reference vector: {type(error).__name__}: {error}.") from error


def _plain(value: Any) -> Any:
    """A hyper-parameter: a tensor if it is written as one, else as it is."""
    return _tensor(value) if isinstance(value, dict) and "data" in value else value


def _tensor(value: Mapping[str, Any]) -> Tensor:
    return torch.tensor(value["data"], dtype=getattr(torch, value["dtype"])).reshape(value["shape"])


def _tensors(value: Any, prefix: str = "") -> dict[str, Tensor]:
    """Nested lists and dicts of {dtype, shape, data} as tensors by dotted name."""
    if value is None:
        return {}
    if isinstance(value, dict) and "data" in value and "shape" in value:
        return {prefix.removesuffix("."): _tensor(value)}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {name: x for key, item in items for name, x in _tensors(item, f"{prefix}{key}.").items()}
