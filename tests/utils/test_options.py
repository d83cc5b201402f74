"""An option is what its annotation says: of every loss, policy and scheme, by configuration and from Python."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, astuple, fields, is_dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

from tutelage.config.methods import refuse_terms
from tutelage.errors import ConfigError
from tutelage.losses.response.kd import KD
from tutelage.objective.spec import term_from_spec
from tutelage.objective.term import Term
from tutelage.teachers.moving_average import MovingAverage
from tutelage.utils import registry
from tutelage.utils.options import option_faults

POOL = [
    None, True, False, "abc", "", "1", 0, 1, -1, 0.0, 0.5, 1.0, 2.5, -2.5, 3, 10**30, 1e-12, 1e12,
    math.inf, -math.inf, math.nan, [], [1.0], ["abc"], [None], {}, {"a": 1},
]  # fmt: skip
"""What somebody might write where an option goes."""


def bounds(annotation: Any) -> list[Any]:
    """What limits an annotated number, text or list."""
    found = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return [part for field in found for part in field.metadata]


def fits(annotation: Any, value: Any) -> bool:
    """Whether a value is what an annotation says, by the words of the documentation alone."""
    limits = {type(limit): astuple(limit)[0] for limit in bounds(annotation)}
    plain = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if get_origin(plain) in (typing.Union, types.UnionType):
        return any(fits(part, value) for part in get_args(plain))
    if get_origin(plain) is Literal:
        return value in get_args(plain) and isinstance(value, str)
    if get_origin(plain) is Sequence or get_origin(plain) is list:
        long = isinstance(value, list) and limits.get(MinLen, 0) <= len(value) <= limits.get(MaxLen, math.inf)
        return long and all(fits(get_args(plain)[0], item) for item in value)
    if plain is float:
        number = isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)
        return number and inside(limits, value)
    if plain is int:
        return isinstance(value, int) and not isinstance(value, bool) and inside(limits, value)
    if plain is str:
        return isinstance(value, str) and len(value) >= limits.get(MinLen, 0)
    return plain is Any or (value is None if plain is type(None) else isinstance(value, plain))


def inside(limits: Mapping[Any, Any], value: float) -> bool:
    low, high = limits.get(Ge, -math.inf), limits.get(Le, math.inf)
    return low <= value <= high and limits.get(Gt, -math.inf) < value < limits.get(Lt, math.inf)


def around(annotation: Any) -> list[float]:
    """The bounds themselves, and a step on both sides of each."""
    parts = [annotation, *get_args(annotation)]
    edges = [astuple(limit)[0] for part in parts for limit in bounds(part)]
    return [edge + step for edge in edges for step in (-1, 0, 1)]


def declared() -> list[tuple[str, str, Any, str, Any]]:
    """Every field of every loss and policy: package, name, class, field, annotation."""
    found = []
    for package in ("losses", "policies"):
        for name, entry in registry.catalogue(package).items():
            hints = typing.get_type_hints(entry.load(), include_extras=True)
            numbers = [f.name for f in fields(entry.load()) if get_origin(hints[f.name]) is not Mapping]
            found += [
                (package, name, entry.load(), field, hints[field]) for field in numbers
            ]  # mappings check themselves
    return found


def told() -> list[tuple[str, Callable[..., Any], str, Any]]:
    """Every option that a configuration may tell a scheme."""
    found = []
    for name, entry in registry.catalogue("schemes").items():
        of = entry.load().from_context
        hints = typing.get_type_hints(of, include_extras=True)
        found += [(name, of, option, hints[option]) for option in [*inspect.signature(of).parameters][1:]]
    return found


FIELDS = [pytest.param(*row, id=f"{row[1]}.{row[3]}") for row in declared()]
OPTIONS = [pytest.param(*row, id=f"{row[0]}.{row[2]}") for row in told()]


@pytest.mark.parametrize(("package", "name", "cls", "field", "annotation"), FIELDS)
def test_a_field_takes_what_its_annotation_says_and_nothing_else(
    package: str, name: str, cls: Any, field: str, annotation: Any
) -> None:
    for value in [*POOL, *around(annotation)]:
        said = refusal(lambda value=value: cls(**{field: value}))
        if not fits(annotation, value):
            assert f"{cls.__name__}: {field}=" in said, value
            assert "expected" in said
        else:  # unless the other fields forbid it
            assert not said.startswith(f"{cls.__name__}: {field}={value!r}: expected"), said
        if package == "losses" and not (field == "temperature" and isinstance(value, dict)):
            assert bool(said) == bool(refusal(lambda value=value: term_from_spec({"name": name, field: value})))


@pytest.mark.parametrize(("name", "of", "option", "annotation"), OPTIONS)
def test_a_schemes_option_takes_what_its_annotation_says_and_nothing_else(
    name: str, of: Callable[..., Any], option: str, annotation: Any
) -> None:
    for value in [*POOL, *around(annotation)]:
        assert (option_faults(name, of, {option: value}) == []) == fits(annotation, value), value
    default = inspect.signature(of).parameters[option].default
    assert option_faults(name, of, {option: default}) == []


@pytest.mark.parametrize(
    "cls", [entry.load() for p in ("losses", "policies") for entry in registry.catalogue(p).values()]
)
def test_the_defaults_are_what_the_annotations_say(cls: Any) -> None:
    assert cls(**{f.name: f.default for f in fields(cls) if f.default is not MISSING})


def refusal(make: Callable[[], Any]) -> str:
    try:
        make()
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("wiring", "message"),
    [
        ({"weight": "abc"}, r"kd: weight='abc': expected a number"),
        ({"weight": True}, r"kd: weight=True"),
        ({"weight": math.inf}, r"kd: weight=inf"),
        ({"weight": {"name": "ramp", "epochs": -1}}, r"kd: ramp: epochs=-1: expected a number of 0 or more"),
        ({"student": 3}, r"kd: student=3"),
        ({"teacher": []}, r"kd: teacher=\[\]"),
        ({"connector": "conv"}, "unknown connector 'conv': did you mean 'conv1x1'"),
        ({"connector": 3}, r"kd: connector=3"),
        ({"warmup": -1}, r"kd: warmup=-1: expected a number of 0 or more"),
        ({"gather": "yes"}, r"kd: gather='yes': expected true or false"),
        ({"task_loss_weight": "much"}, r"kd: task_loss_weight='much': expected a number"),
        ({"samples": "worse"}, r"kd: samples='worse'"),
        ({"temperature": "warm"}, r"kd: temperature='warm': expected a number"),
        ({"temperature": None}, r"kd: temperature=None: expected a number"),
        ({"temperature": {"name": "learned", "ramp": True}}, r"kd: learned: ramp=True: expected a number"),
    ],
)
def test_what_wires_a_term_is_held_to_its_annotations(wiring: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        term_from_spec({"name": "kd"} | wiring)
    named = message.replace("kd: ", "" if isinstance(next(iter(wiring.values())), dict) else "Term: ")
    if "temperature" not in wiring or isinstance(wiring["temperature"], dict):
        with pytest.raises(ConfigError, match=named):
            Term(KD(), **wiring)


def test_all_faults_of_all_terms_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_terms(
            [
                {"name": "kd", "temperature": -4, "weight": "abc", "temprature": 3},
                {"name": "at"},
                {"name": "reviewkd", "mid_channels": 6.5, "warmup": {"name": "ramp"}},
            ]
        )
    named = ("temperature=-4", "weight='abc'", "did you mean 'temperature'", "mid_channels=6.5", "reviewkd: warmup=")
    assert all(part in str(caught.value) for part in named)
    assert len(str(caught.value).splitlines()) == len(named)


def test_an_unknown_or_surplus_option_from_python_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown option of KD 'temprature': did you mean 'temperature'"):
        KD(temprature=4)  # type: ignore[call-arg]


@pytest.mark.parametrize("decay", [1.0, -0.1, True, "high", None, math.nan])
def test_a_teacher_is_held_to_its_annotations(decay: Any) -> None:
    with pytest.raises(ConfigError, match="MovingAverage: decay="):
        MovingAverage(object(), object(), decay)  # type: ignore[arg-type]


def test_every_class_of_the_catalogue_is_its_fields() -> None:
    assert all(is_dataclass(cls) for _, _, cls, _, _ in declared())
