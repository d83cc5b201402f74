"""What options may be: bounds that fields state by name, and the one checker that holds values to annotations."""

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

# numbers: int or float, never true or false, and finite

Number = Annotated[float, Field(ge=-1e9, le=1e9)]
Positive = Annotated[float, Field(gt=0, le=1e9)]
NonNegative = Annotated[float, Field(ge=0, le=1e9)]
Temperature = Annotated[float, Field(gt=0, le=1e4)]
Share = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
ShareBelowHalf = Annotated[float, Field(ge=0, lt=0.5)]
ShareAboveZero = Annotated[float, Field(gt=0, le=1)]
ShareBetween = Annotated[float, Field(gt=0, lt=1)]
LearningRate = Annotated[float, Field(ge=0, le=100)]
Epochs = Annotated[float, Field(gt=0, le=1e6)]
EpochsOrZero = Annotated[float, Field(ge=0, le=1e6)]

# whole numbers

Count = Annotated[int, Field(ge=1, le=1_000_000)]
CountOrZero = Annotated[int, Field(ge=0, le=1_000_000)]
ClassOrLast = Annotated[int, Field(ge=-1, le=65_536)]
Width = Annotated[int, Field(ge=1, le=65_536)]
Few = Annotated[int, Field(ge=1, le=64)]
FewOrZero = Annotated[int, Field(ge=0, le=64)]
Power = Annotated[int, Field(ge=1, le=16)]
PowerOrZero = Annotated[int, Field(ge=0, le=16)]
Iterations = Annotated[int, Field(ge=1, le=10_000)]

# several numbers, as a list or a tuple

Positives = Annotated[Sequence[Positive], Field(min_length=1, max_length=64)]
NonNegatives = Annotated[Sequence[NonNegative], Field(min_length=1, max_length=64)]
Temperatures = Annotated[Sequence[Temperature], Field(min_length=1, max_length=64)]

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
"""What pydantic's kinds of errors expected, in words."""

STRICT = ConfigDict(strict=True, allow_inf_nan=False)


class Checked:
    """Abstract: what it is made of is held to its annotations."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: D102
        make: Callable[..., Any] = cls
        refuse(cls.__name__, make, dict(zip(taken(make)[0], args, strict=False)) | kwargs)
        return super().__new__(cls)


def refuse(who: str, make: Callable[..., Any], given: Mapping[str, Any], also: Iterable[str] = ()) -> None:
    """Refuse values that aren't what the annotations say.

    Raises: ConfigError that lists every fault.
    """
    if found := of_options(who, make, given, also):
        raise ConfigError("\n".join(found))


def of_options(who: str, make: Callable[..., Any], given: Mapping[str, Any], also: Iterable[str] = ()) -> list[str]:
    """What is wrong with what is told to `make`, whose first parameter isn't an option: names, kinds and bounds.

    also: words that its user might have meant instead.
    """
    kinds, takes_any = taken(make)
    found = []
    for key, value in given.items():
        if key in kinds:
            said = fault(kinds[key], value)
            found += [f"{who}: {key}={shown(repr(value))}: {said}."] if said else []
        elif not takes_any:
            found.append(unknown(f"option of {who}", str(key), [*kinds, *also]))
    return found


def fault(kind: TypeAdapter[Any] | None, value: Any) -> str:
    """What was expected in a value's place; empty if nothing else was, or if no kind is known."""
    try:
        if kind is not None:
            kind.validate_python(value)
    except ValidationError as error:
        return f"expected {' or '.join(dict.fromkeys(map(expected, error.errors())))}"
    return ""


def expected(error: ErrorDetails) -> str:
    """What one of pydantic's errors expected."""
    known = EXPECTED.get(error["type"])
    return known.format(**error.get("ctx", {})) if known else error["msg"].removeprefix("Input should be ")


def kind_of(annotation: Any) -> TypeAdapter[Any] | None:
    """The checker of an annotation; None where it isn't one of plain values, as those of modules aren't."""
    try:
        return TypeAdapter(annotation, config=STRICT)
    except PydanticUserError:
        return None


@cache
def taken(make: Callable[..., Any]) -> tuple[dict[str, TypeAdapter[Any] | None], bool]:
    """What may be told to `make`, but for its first parameter, and whether anything else may."""
    called = make.__init__ if isinstance(make, type) else make  # type: ignore[misc]
    try:
        hints = typing.get_type_hints(make if is_dataclass(make) else called, include_extras=True)
    except NameError:  # a name that only type checkers see
        hints = {}
    own = list(inspect.signature(called).parameters.values())
    named = [p.name for p in own[1:] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in own)
    return {name: kind_of(hints.get(name, Any)) for name in named}, takes_any
