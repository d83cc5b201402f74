"""The methods of a study: what the entries of `methods` name, and plain kd, with which they are compared."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tutelage import recipes
from tutelage.config import schema
from tutelage.config.kinds import Spec
from tutelage.config.methods import refuse_terms, term_specs
from tutelage.config.named_parts import OFFLINE, name_of, scheme_trait
from tutelage.config.nested import flatten_networks
from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError, TutelageError, shown
from tutelage.runs.data import load_data
from tutelage.runs.inputs import task_of
from tutelage.study.settings import OF_STUDY
from tutelage.utils import registry
from tutelage.utils.validation import describe_faults

ALONE, KD = "alone", "kd"
NO_NETWORKS = {"teacher": "", "student": ""}
OF_ALL = (
    "student", "seed", "data", "target", "group", "column", "reading", "task", "metric", "classes", "split", "val",
    "limit", "labels_per_class", "split_seed", "judged_on", "epochs", *OF_STUDY,
)  # fmt: skip
"""The keys that no method has of its own: they decide what a row is of, and whether rows can be compared."""
OF_METHOD = ("method", "scheme", "stages", "teacher")
"""The keys of which a method has one or more."""


@dataclass(frozen=True)
class Method:
    """A method of a study.

    Args:
        name: its name in tables.
        keys: the keys of a run that it sets.
        teachers: the number of trained networks that teach; 0: none.
        own: the run trains its teachers itself, for the student or for some classes.
    """

    name: str
    keys: Mapping[str, Any]
    teachers: int
    own: bool = False


def read_method(entry: str | Mapping[str, Any], networks: Mapping[str, str] = NO_NETWORKS) -> Method:
    """Return the method that an entry of `methods` names.

    networks: the names of a teacher and a student, from which the stages of some recipes follow.
    Raises: ConfigError for an unknown loss or recipe, and options that it doesn't take.
    """
    spec: Spec = {"method": entry} if isinstance(entry, str) else dict(entry)
    name = name_of_method(entry)
    spec.pop("name", None)
    _refuse_entry(name, spec)
    text, at, count = spec["method"].partition("@") if isinstance(spec.get("method"), str) else ("", "", "")
    if text:
        spec["method"] = text
    if at and not (count.isdecimal() and 1 <= int(count) <= 64):
        raise ConfigError(f"methods: {entry}: expected a number of teachers after @, 1 to 64.")
    if text and recipes.has(text):
        return Method(name, spec, *_teachers_of(recipes.load(text, {**networks, **spec}) | spec, count))
    terms = term_specs(spec.get("method", KD))
    refuse_terms(terms)
    needy = any(registry.find_entry("losses", term["name"]).needs_teacher for term in terms)
    return Method(name, spec, *_teachers_of(spec if needy or "scheme" in spec else {"teacher": None} | spec, count))


def _refuse_entry(name: str, spec: Mapping[str, Any]) -> None:
    """Refuse an entry of `methods` that is none, has wrong keys, or a row that couldn't be compared with others.

    Raises: ConfigError.
    """
    if not any(key in spec for key in OF_METHOD):
        raise ConfigError(f"methods: {name}: a name for tables alone: add a method, as in {{name: …, method: kd}}.")
    if fixed := [key for key in spec if key in OF_ALL]:
        raise ConfigError(
            f"methods: {name}: {fixed[0]}={shown(spec[fixed[0]])}: it is the same for all methods, since their rows "
            "are compared: leave it out, or set it for the whole study."
        )
    fields = schema.Config.model_fields
    keys = flatten_networks({key: value for key, value in spec.items() if key != "method"}, fields)
    try:
        schema.Config(**keys)
    except ValidationError as error:
        if any(fault["loc"] for fault in error.errors()):  # others contradict defaults that the study may change
            raise ConfigError(f"methods: {name}: {describe_faults(error, fields, keys)}") from error


def name_of_method(entry: str | Mapping[str, Any]) -> str:
    """Return the name that tables show of an entry of `methods`."""
    return entry if isinstance(entry, str) else str(entry.get("name") or entry.get("method") or entry.get("scheme"))


def _teachers_of(keys: Mapping[str, Any], count: str) -> tuple[int, bool]:
    """Return how many trained networks teach with these keys, and whether the run trains them itself."""
    teacher, scheme = keys.get("teacher", ""), name_of(keys.get("scheme", OFFLINE))
    if not scheme_trait(scheme, "takes_teacher") or teacher is None or (teacher and not isinstance(teacher, list)):
        return 0, False
    trajectory = any("stage:teacher@" in str(stage.get("teacher")) for stage in keys.get("stages", []))
    own = trajectory or bool(keys.get("teacher_classes") or keys.get("teacher_scheme"))
    return int(count or (len(teacher) if isinstance(teacher, list) else 1)), own


def plain_method(config: schema.Config, loaded: MutableMapping[str, DataModule]) -> Method:
    """Return kd, with which the others are compared; where outputs aren't logits of classes, the squared error instead.

    A task may have another default method. loaded: data that are loaded; those that are loaded here join them.
    """
    try:
        task = task_of(load_data(config, loaded=loaded), config)
    except TutelageError:  # each trial tells it
        return read_method(KD)
    compares = registry.find_entry("losses", KD).response_kinds
    method = task.default_method or (KD if task.response_kind in compares else "logit_mse")
    return read_method({"name": KD, "method": method})


def losses_of(method: Method) -> set[str]:
    """Return the names of a method's losses; that of its recipe, if it is one."""
    text = method.keys.get("method", KD)
    return {text} if isinstance(text, str) and recipes.has(text) else {term["name"] for term in term_specs(text)}
