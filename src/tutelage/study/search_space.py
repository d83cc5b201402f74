"""The space of a search: the keys of a configuration that change from trial to trial, and the values of each."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.config.methods import term_specs
from tutelage.config.schema import Config, check
from tutelage.errors import ConfigError, TutelageError, shown, unknown
from tutelage.objective.spec import term_from_spec, term_spec

Keys = Mapping[str, Any]
Point = dict[str, Any]
"""The values of a trial by the path of their key."""

FIXED = {
    "trials are compared on the same validation samples": (
        "data", "streams", "task", "metric", "probe", "val", "split", "classes", "column", "target", "group", "degrade",
        "heatmaps", "reading",
    ),
    "all trials have the same seeds, and no baseline": ("seed", "split_seed", "seeds", "baseline", "judged_on"),
    "the recipe's keys are set before the search": ("recipe",),
    "a search has one folder, and trains on one device": ("out", "device", "devices", "strategy"),
}  # fmt: skip
"""The keys that can't be searched, by the reason."""

FORMS = "[low, high], [low, high, log], a list of choices, or {choices: […]}"


class Parameter(ABC):
    """Abstract: the values that a key may have."""

    @abstractmethod
    def ends(self) -> Sequence[Any]:
        """Return the values that are checked before the first training: the first and the last are the ends."""

    @abstractmethod
    def distribution(self) -> Any:
        """Return the values as Optuna's distribution."""

    @abstractmethod
    def contains(self, value: Any) -> bool:
        """Return whether a value is one of them."""

    def encode(self, value: Any) -> Any:
        """Return the value's code in the distribution."""
        return value

    def decode(self, code: Any) -> Any:
        """Return the value of a code."""
        return code


@dataclass(frozen=True)
class NumberRange(Parameter):
    """The numbers from low to high; log: spread evenly over their logarithms; whole: whole numbers alone."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def ends(self) -> Sequence[Any]:
        """Return the lowest and the highest."""
        return [self.low, self.high]

    def distribution(self) -> Any:
        """Return a distribution of floats or integers."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def contains(self, value: Any) -> bool:
        """Return whether it is a number between the ends."""
        number = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', log' if self.log else ''}{', whole' if self.whole else ''}"


@dataclass(frozen=True)
class ValueList(Parameter):
    """Some values of any type."""

    values: Sequence[Any]

    def ends(self) -> Sequence[Any]:
        """Return all of them."""
        return self.values

    def distribution(self) -> Any:
        """Return a distribution of their numbers."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(range(len(self.values)))

    def contains(self, value: Any) -> bool:
        """Return whether it is one of the values."""
        return value in self.values

    def encode(self, value: Any) -> Any:
        """Return the value's number."""
        return self.values.index(value)

    def decode(self, code: Any) -> Any:
        """Return the value of a number."""
        return self.values[code]

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


@dataclass(frozen=True)
class SearchSpace:
    """The parameters of a search by the path of their key, and the keys that they change."""

    parameters: Mapping[str, Parameter]
    base: Keys

    @classmethod
    def parse(cls, search: Keys, base: Config) -> SearchSpace:
        """Return the space that `search` describes, for a configuration whose other keys are fixed.

        Raises: ConfigError that lists all faults.
        """
        keys, faults, parameters = base.model_dump(), [], {}
        for path, form in search.items():
            try:
                refuse_fixed(path)
                place(keys, path, None)
                parameters[path] = parse_parameter(path, form)
            except ConfigError as error:
                faults += str(error).splitlines()
        for path in search:
            if inside := [other for other in search if other.startswith(f"{path}.")]:
                faults.append(f"search: {inside[0]} is a part of {path}: leave one of them out.")
        if faults:
            raise ConfigError("\n".join(faults))
        space = cls(parameters, keys)
        return cls({path: space._whole(path) for path in parameters}, keys)

    def _whole(self, path: str) -> Parameter:
        """Return the parameter, whose numbers are whole if they are written so and its key takes no fraction."""
        parameter, first = self.parameters[path], {name: other.ends()[0] for name, other in self.parameters.items()}
        if not isinstance(parameter, NumberRange) or not all(isinstance(end, int) for end in parameter.ends()):
            return parameter
        is_fractional = not list(self.faults([first | {path: parameter.low + 0.5}]))
        return NumberRange(parameter.low, parameter.high, parameter.log, not is_fractional)

    def keys(self, point: Point) -> dict[str, Any]:
        """Return all keys of the configuration at a point."""
        keys = dict(self.base)
        for path, value in point.items():
            keys = place(keys, path, value)
        return keys

    def corners(self) -> list[Point]:
        """Return the points at the ends: all lowest, all highest, and each further choice with the others lowest."""
        low, high = ({name: p.ends()[end] for name, p in self.parameters.items()} for end in (0, -1))
        between = [low | {name: value} for name, p in self.parameters.items() for value in p.ends()[1:-1]]
        return [low, high, *between]

    def faults(self, points: Sequence[Point], dry_run: Callable[[Config], object] = bool) -> Iterator[str]:
        """Yield the faults of configurations at these points.

        dry_run: called with each valid configuration; it raises a TutelageError.
        """
        for point in points:
            try:
                dry_run(check(self.keys(point)))
            except TutelageError as error:
                yield from (f"search: at {describe(point)}: {line}" for line in str(error).splitlines())

    def own_values(self) -> Point:
        """Return the configuration's own values, or its losses' defaults, where the space has them."""
        terms = [_own_term(spec, self.base["weight"]) for spec in term_specs(self.base["method"])]
        values = {path: value_at(self.base, path) for path in self.parameters}
        values |= {path: value_at({"method": terms}, path) for path in values if path.startswith("method.")}
        return {path: value for path, value in values.items() if self.parameters[path].contains(value)}


def _own_term(spec: Keys, weight: str) -> dict[str, Any]:
    """Return a term with its loss's defaults, and with its weight if that is a number."""
    term = term_from_spec(spec)
    term.settle(weight == "auto", epochs=1, steps=1)
    return {"weight": term.weight if isinstance(term.weight, float) else None} | term_spec(term)


def describe(point: Keys) -> str:
    """Return a point in words."""
    return ", ".join(
        f"{path}={value:.4g}" if isinstance(value, float) else f"{path}={value}" for path, value in point.items()
    )


def refuse_fixed(path: str) -> None:
    """Refuse a path whose key isn't known, or can't change between trials.

    Raises: ConfigError.
    """
    key = path.partition(".")[0]
    if key not in Config.model_fields:
        raise ConfigError(unknown("key of search", key, Config.model_fields, "tutelage tune --help"))
    for reason, keys in FIXED.items():
        if key in keys:
            raise ConfigError(f"search: {path}: {reason}: set {key} outside of search.")


def parse_parameter(path: str, form: Any) -> Parameter:
    """Return the values that a list, or {choices: [...]}, describes.

    Raises: ConfigError.
    """
    fault = f"search: {path}={shown(form)}: expected {FORMS}"
    if isinstance(form, Mapping) and form.keys() == {"choices"}:
        return _choices(form["choices"], fault)
    if not isinstance(form, list | tuple):
        raise ConfigError(f"{fault}.")
    numbers = [x for x in form[:2] if isinstance(x, int | float) and not isinstance(x, bool)]
    if len(numbers) < 2 or list(form[2:]) not in ([], ["log"]):
        return _choices(form, fault)
    (low, high), log = numbers, len(form) > 2
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(
            f"{fault}; low must be below high: two numbers to choose from are {{choices: [{low}, {high}]}}."
        )
    if log and low <= 0:
        raise ConfigError(f"{fault}; with log, low must be above 0.")
    return NumberRange(low, high, log)


def _choices(values: Any, fault: str) -> ValueList:
    if (
        not isinstance(values, list | tuple)
        or len(values) < 2
        or any(value in values[:n] for n, value in enumerate(values))
    ):
        raise ConfigError(f"{fault}, two or more, each once.")
    return ValueList(list(values))


def place(keys: Keys, path: str, value: Any) -> dict[str, Any]:
    """Return the keys with the value at a path, such as lr, scheme.every or method.kd.temperature.

    Raises: ConfigError if there is no such place.
    """
    key, *rest = path.split(".")
    return {**keys, key: _placed(_as_specs(key, keys[key]), rest, value, path)}


def value_at(keys: Keys, path: str) -> Any:
    """Return the value at a path; None if it isn't set."""
    key, *rest = path.split(".")
    node = _as_specs(key, keys[key]) if rest else keys[key]
    for name in rest:
        node = {spec["name"]: spec for spec in node}[name] if isinstance(node, list) else (node or {}).get(name)
    return node


def _as_specs(key: str, value: Any) -> Any:
    """Return a method as the list of its terms, and the name of a part as its mapping."""
    if key == "method":
        return term_specs(value)
    return {"name": value} if isinstance(value, str) else value


def _placed(node: Any, rest: Sequence[str], value: Any, path: str) -> Any:
    """Return a node of the keys with the value at the rest of its path."""
    if not rest:
        return value
    name, *deeper = rest
    if not isinstance(node, list):
        if node is not None and not isinstance(node, Mapping):
            raise ConfigError(f"search: {path}: {shown(node)} has no part {name!r}: leave .{'.'.join(rest)} out.")
        return {**(node or {}), name: _placed((node or {}).get(name), deeper, value, path)}
    names = [str(spec.get("name")) if isinstance(spec, Mapping) else "" for spec in node]
    if names.count(name) != 1:
        several = f"search: {path}: there are several named {name!r}, so none can be chosen."
        raise ConfigError(several if name in names else f"search: {path}: {unknown('part', name, names)}")
    if not deeper:
        raise ConfigError(f"search: {path}: expected an option of {name}, such as {path}.weight.")
    return [_placed(spec, deeper, value, path) if n == name else spec for n, spec in zip(names, node, strict=True)]
