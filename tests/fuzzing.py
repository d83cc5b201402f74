"""Values for keys and options: right ones by their annotations, near misses and others; and what annotations allow."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from tutelage.config.schema import Config
from tutelage.utils import registry

EVERYTHING: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3.0, 2.5, -0.5, 1e-9, math.inf, -math.inf, math.nan, 10**9, 10**30, -(10**30),
    "", " ", "abc", "1", "010", "1:30", "0x10", "yes", "no", "true", "null", "none", "~", "~/x", ".inf", ".nan",
    "1e3", "1e999", "2024-06-01", "kd", "kd+at", "kdd", "1e999*kd", "mutual", "cnn2", "cnn99999999999",
    "resnet20000000", "wrn_4_99999", "stage:student", "stage:a@b", "python:", "python:a:b", "folder:",
    "folder:nowhere", "npz:", "hf:", "timm:", ":", "a/b", "a\0b", "\udcff", "x" * 5000, "é", "a\nb", "[kd",
    "{name: kd", "#3", [], [1], [True], ["a"], ["cnn2", "cnn4"], [None], [[]], [["0"], ["1"]], [math.nan],
    ["a"] * 200, {}, {"name": "kd"}, {"name": 3}, {"name": "mutual"}, {"name": "exits"}, {"nme": "kd"},
    {"a": {"b": 1}}, [{"name": "kd", "weight": "abc"}], [{"name": "kd", "temperature": -4}], [{}], [{"seed": "x"}],
    [{"name": "a"}, {"name": "student"}], [{"name": "a"}], [{"student": 3}], (1, 2), ("a",), {"a"}, b"abc", 1 + 2j,
    object(), range(3), [{"at": {"weight": 1}}], [3, {"name": "kd"}], {3: 4}, {"name": None},
]  # fmt: skip
"""What anybody may write, or pass."""

Bounds = list[Any]


def parts(annotation: Any) -> list[tuple[Any, Bounds]]:
    """The alternatives of an annotation, each with its bounds."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        notes = [n for note in args[1:] for n in (note.metadata if isinstance(note, FieldInfo) else [note])]
        return [(kind, [*bounds, *notes]) for kind, bounds in parts(args[0])]
    if origin in (Union, types.UnionType):
        return [part for arg in args for part in parts(arg)]
    return [(annotation, [])]


def allowed(value: Any, annotation: Any) -> bool:
    """Whether an annotation allows a value, read strictly; annotations that aren't of plain values allow anything."""
    return any(_is(value, kind) and _within(value, bounds) for kind, bounds in parts(annotation))


def _is(value: Any, kind: Any) -> bool:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is type(None):
        return value is None
    if kind is bool:
        return isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is str:
        return isinstance(value, str)
    if origin is Literal:
        return any(value == arg and type(value) is type(arg) for arg in args)
    if origin in (list, Sequence):
        return isinstance(value, list | tuple) and all(allowed(item, args[0]) for item in value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    if typing.is_typeddict(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        return isinstance(value, Mapping) and all(k in hints and allowed(v, hints[k]) for k, v in value.items())
    return True


def _within(value: Any, bounds: Bounds) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    for bound in bounds if number else []:
        if (isinstance(bound, Ge) and value < bound.ge) or (isinstance(bound, Gt) and value <= bound.gt):
            return False
        if (isinstance(bound, Le) and value > bound.le) or (isinstance(bound, Lt) and value >= bound.lt):
            return False
    for bound in bounds if isinstance(value, str | list | tuple) else []:
        if isinstance(bound, MinLen) and len(value) < bound.min_length:
            return False
        if isinstance(bound, MaxLen) and len(value) > bound.max_length:
            return False
    return True


def near(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation's kinds, at its bounds and just beyond them."""
    return st.one_of([_near(kind, bounds) for kind, bounds in parts(annotation)])


def edges(annotation: Any) -> list[Any]:
    """What stands at an annotation's bounds and just beyond them, and what it names."""
    return [value for kind, bounds in parts(annotation) for value in _edges(kind, bounds)]


def _edges(kind: Any, bounds: Bounds) -> list[Any]:
    if typing.get_origin(kind) is Literal:
        return [*typing.get_args(kind), f"{typing.get_args(kind)[0]}s"]
    at = [getattr(b, name) for b in bounds for name in ("ge", "gt", "le", "lt") if hasattr(b, name)]
    return [edge + step for edge in at for step in (-1, 0, 1)]


def _near(kind: Any, bounds: Bounds) -> st.SearchStrategy[Any]:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is bool:
        return st.booleans()
    if kind in (int, float):
        around = _edges(kind, bounds)
        numbers = st.integers(-3, 10) if kind is int else st.integers(-3, 10) | st.floats(-2, 20)
        return st.sampled_from(around) | numbers if around else numbers
    if origin is Literal:
        return st.sampled_from(args) | st.sampled_from(args).map(lambda text: f"{text}s")
    if origin in (list, Sequence):
        return st.lists(near(args[0]), max_size=3)
    if origin in (dict, Mapping):
        return st.dictionaries(
            st.sampled_from(["name", "student", "weight", "a"]), st.sampled_from(EVERYTHING), max_size=2
        )
    return st.just(None) if kind is type(None) else st.text(max_size=6)


def value(annotation: Any) -> st.SearchStrategy[Any]:
    """Any value that may be given where this is expected."""
    return near(annotation) | st.sampled_from(EVERYTHING)


KINDS: dict[str, Any] = {
    key: Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    for key, field in Config.model_fields.items()
}
"""What each key of a configuration allows."""


BASE = {"teacher": "cnn2", "student": "cnn2", "limit": 64, "device": "cpu"}
"""The smallest run."""

SPOKEN = [("teacher", "none"), ("clip", "none"), ("precision", 32), ("log", "tensorboard")]
"""Forms of other kinds that are meant to be taken."""
NAMED = (
    "column",
    "classes",
    "teacher_classes",
    "target",
    "group",
    "drop",
    "teacher_inputs",
    "student_inputs",
    "split",
    "neighbours",
)
"""Keys of names, which may be numbers."""


def is_taken_rightly(key: str, given: Any, found: Any) -> bool:
    """Whether a value that passed is one that its key allows."""
    return (key, given) in SPOKEN or allowed(getattr(found, key) if key in NAMED else given, KINDS[key])


def options(package: str, name: str) -> dict[str, Any]:
    """What each option of a loss, scheme or policy allows."""
    part = registry.find_entry(package, name).load()
    make = part.from_context if package == "schemes" else part
    hints = typing.get_type_hints(make, include_extras=True)
    own = typing.get_type_hints(make.__func__ if hasattr(make, "__func__") else make, include_extras=True)
    taken = list(own) if package == "schemes" else [f for f in part.__dataclass_fields__ if f in hints]
    return {key: hints[key] for key in taken if key not in ("context", "return")}


PARTS = [(package, name) for package in ("losses", "schemes", "policies") for name in registry.catalogue(package)]
"""Every loss, scheme and policy."""


def asked(package: str, name: str, told: dict[str, Any]) -> dict[str, Any]:
    """Keys that tell a part its options."""
    if package == "schemes":
        return {**BASE, "teacher": None, "method": "ce", "scheme": {"name": name, **told}}
    if package == "losses":
        return {**BASE, "method": [{"name": name, **told}]}
    word = {"Temperature": "temperature", "SampleWeight": "samples"}.get(_kind(name), "weight")
    return {**BASE, "method": [{"name": "kd", word: {"name": name, **told}}]}


def _kind(policy: str) -> str:
    from tutelage.policies import base

    part = registry.find_entry("policies", policy).load()
    return next((k for k in ("Temperature", "SampleWeight") if issubclass(part, getattr(base, k))), "")
