"""Types of options: named bounds for annotations, and the checker of values against annotations."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import ErrorDetails

from tutelage.errors import ConfigError, shown, unknown

# numbers: finite int or float, no booleans

Number = Annotated[float, Field(ge=-1e9, le=1e9)]
Positive = Annotated[float, Field(gt=0, le=1e9)]
NonNegative = Annotated[float, Field(ge=0, le=1e9)]
Temperature = Annotated[float, Field(gt=0, le=1e4)]
Fraction = Annotated[float, Field(ge=0, le=1)]
FractionBelowOne = Annotated[float, Field(ge=0, lt=1)]
FractionBelowHalf = Annotated[float, Field(ge=0, lt=0.5)]
FractionAboveZero = Annotated[float, Field(gt=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
LearningRate = Annotated[float, Field(ge=0, le=100)]
Epochs = Annotated[float, Field(gt=0, le=1e6)]
EpochsOrZero = Annotated[float, Field(ge=0, le=1e6)]

# whole numbers

Count = Annotated[int, Field(ge=1, le=1_000_000)]
CountOrZero = Annotated[int, Field(ge=0, le=1_000_000)]
ClassOrLast = Annotated[int, Field(ge=-1, le=65_536)]
Width = Annotated[int, Field(ge=1, le=65_536)]
SmallCount = Annotated[int, Field(ge=1, le=64)]
SmallCountOrZero = Annotated[int, Field(ge=0, le=64)]
Power = Annotated[int, Field(ge=1, le=16)]
PowerOrZero = Annotated[int, Field(ge=0, le=16)]
Iterations = Annotated[int, Field(ge=1, le=10_000)]

# several numbers, as a list or a tuple

Positives = Annotated[Sequence[Positive], Field(min_length=1, max_length=64)]
NonNegatives = Annotated[Sequence[NonNegative], Field(min_length=1, max_length=64)]
Temperatures = Annotated[Sequence[Temperature], Field(min_length=1, max_length=64)]
ClassWeights = Annotated[Sequence[NonNegative], Field(max_length=65_536)]

# layers by name

Layer = Annotated[str, Field(min_length=1)]
Layers = Layer | Annotated[Sequence[Layer], Field(min_length=1)]

EXPECTED = {
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_too_short": "text that isn't empty",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of {ge:g} or more",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of {le:g} or less",
    "literal_error": "{expected}",
    "is_instance_of": "a {class}",
    "dataclass_exact_type": "a {class_name}",
    "dataclass_type": "a {class_name}",
    "sequence_str": "a list",
    "list_type": "a list",
    "tuple_type": "a list",
    "too_short": "{min_length} or more items",
    "too_long": "{max_length} items at most",
    "mapping_type": "a mapping",
    "dict_type": "a mapping",
    "callable_type": "something to call",
}
"""The expectation behind each of pydantic's error types."""

STRICT = ConfigDict(strict=True, allow_inf_nan=False)


class CheckedArguments:
    """Abstract: a class whose constructor arguments are checked against its annotations."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: D102
        function: Callable[..., Any] = cls
        check_options(cls.__name__, function, dict(zip(parameter_adapters(function)[0], args, strict=False)) | kwargs)
        return super().__new__(cls)


def check_options(
    name: str, function: Callable[..., Any], options: Mapping[str, Any], also: Iterable[str] = ()
) -> None:
    """Reject options that don't fit the function's annotations.

    Raises: ConfigError that lists every fault.
    """
    if faults := option_faults(name, function, options, also):
        raise ConfigError("\n".join(faults))


def option_faults(
    name: str, function: Callable[..., Any], options: Mapping[str, Any], also: Iterable[str] = ()
) -> list[str]:
    """Return the faults of the options of a function or class: unknown names, wrong types and bounds.

    Args:
        name: its name in messages.
        function: the function or class; its first parameter isn't an option.
        options: the values by name.
        also: further names to suggest for an unknown one.
    """
    adapters, takes_any = parameter_adapters(function)
    faults = []
    for key, value in options.items():
        if key in adapters:
            expectation = unmet_expectation(adapters[key], value)
            faults += [f"{name}: {key}={shown(repr(value))}: {expectation}."] if expectation else []
        elif not takes_any:
            faults.append(unknown(f"option of {name}", str(key), [*adapters, *also]))
    return faults


def unmet_expectation(adapter: TypeAdapter[Any] | None, value: Any) -> str:
    """Return the expectation that a value doesn't meet; empty if it meets it, or if there is no adapter."""
    try:
        if adapter is not None:
            adapter.validate_python(value)
    except ValidationError as error:
        return f"expected {' or '.join(dict.fromkeys(map(describe_expectation, error.errors())))}"
    return ""


def describe_expectation(error: ErrorDetails) -> str:
    """Return the expectation behind one of pydantic's errors."""
    template = EXPECTED.get(error["type"])
    return (
        template.format(**error.get("ctx", {}))
        if template
        else error["msg"].removeprefix("Input should be ").removeprefix("Value error, expected ")
    )


def type_adapter(annotation: Any) -> TypeAdapter[Any] | None:
    """Return the checker of an annotation; None for annotations that aren't of plain values, such as modules."""
    try:
        return TypeAdapter(annotation, config=STRICT)
    except PydanticUserError:
        return None


@cache
def parameter_adapters(function: Callable[..., Any]) -> tuple[dict[str, TypeAdapter[Any] | None], bool]:
    """Return the adapters of a function's or class's parameters but the first, and whether it takes any keyword."""
    target = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    try:
        hints = typing.get_type_hints(function if is_dataclass(function) else target, include_extras=True)
    except NameError:  # a name that only type checkers see
        hints = {}
    parameters = list(inspect.signature(target).parameters.values())
    names = [p.name for p in parameters[1:] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return {name: type_adapter(hints.get(name, Any)) for name in names}, takes_any
