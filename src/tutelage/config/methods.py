"""A method as text: a sum of losses, with their weights and options."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tutelage import recipes
from tutelage.config.kinds import Method, Spec
from tutelage.errors import ConfigError, unknown
from tutelage.utils import registry

AUTO = "auto"
"""The method that a study chooses; no configuration of a run has it."""

TERM = re.compile(r"\s*(?:([0-9.]+(?:[eE][-+]?[0-9]+)?)\s*\*)?\s*([A-Za-z][\w-]*)\s*")


def term_specs(method: Method) -> list[Spec]:
    """Return a method's terms as `{name, weight, …}`: from "dkd", "kd+0.5*at", one such mapping, or a list.

    Raises: ConfigError if the text isn't such a sum.
    """
    if method is None:
        return []
    if isinstance(method, str):
        matches = [TERM.fullmatch(part) for part in re.split(r"(?<![0-9.][eE])\+", method)]
        if not all(matches):
            raise ConfigError(f"method={method!r}: expected losses added up, such as kd, dkd or kd+0.5*at.")
        if not all(math.isfinite(float(m[1] or 1)) for m in matches if m):
            raise ConfigError(f"method={method!r}: a weight in it is too large for a number.")
        return [{"name": m[2]} | ({"weight": float(m[1])} if m[1] else {}) for m in matches if m]
    terms: list[Spec] = []
    for part in [method] if isinstance(method, Mapping) else method:
        if isinstance(part, str):
            terms += term_specs(part)
        elif not isinstance(part.get("name"), str):
            raise ConfigError(f"term {part}: it needs a name, such as {{name: at, weight: 0.5}}.")
        else:
            terms.append(dict(part))
    return terms


def refuse_terms(method_specs: Iterable[Spec]) -> None:
    """Refuse unknown losses, those that no run provides inputs for, and options that don't fit.

    Raises: ConfigError that lists all faults.
    """
    terms = list(method_specs)
    problems = [unknown_method(spec["name"]) for spec in terms if not registry.is_known("losses", spec["name"])]
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    entries = [registry.find_entry("losses", spec["name"]) for spec in terms]
    problems = [
        f"method={entry.name}: it is for {entry.only_for}, which no run gives a student; call "
        f"tutelage.{entry.class_name}() in a training loop of your own (`tutelage list losses` shows which losses "
        "runs take)."
        for entry in entries
        if entry.only_for
    ]
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    if any(spec.keys() - {"name", "weight"} or not isinstance(spec.get("weight", 1.0), float) for spec in terms):
        from tutelage.objective.terms import Terms  # and with it torch, where there are options to check

        Terms.from_method(terms)


def choice_faults(file: str, method: Method) -> Iterator[str]:
    """Yield why a file isn't the choice of a method, or of another one than the configuration's."""
    try:
        chosen = json.loads(Path(file).read_text(encoding="utf-8"))["config"]["method"]
    except (OSError, ValueError, KeyError, TypeError):
        yield f"chosen_by={file}: expected the choice.json that method=auto wrote: leave chosen_by out"
        return
    if term_specs(chosen) != term_specs(method):
        yield f"chosen_by={file}: it chose method={chosen}, not {method}: leave chosen_by out"


def method_support(entry: registry.CatalogueEntry) -> str:
    """Return "yes" if runs take this loss as a method, or else the keys or the outputs ("values") that it needs.

    For a loss that runs don't take, return "no: " and its purpose.
    """
    if entry.only_for:
        return f"no: {entry.only_for}"
    if recipes.has(entry.name):  # which brings teachers and scheme
        return "yes"
    if entry.response_kinds and "classes" not in entry.response_kinds:
        return f"for {' or '.join(entry.response_kinds)}"
    keys = {"student": "scheme=together", "teacher": "teacher=[a,b]"}
    return next((keys[side] for side in entry.list_inputs), "yes")


def unknown_method(name: str) -> str:
    """Return the error message for an unknown method, with near names."""
    if name == AUTO:
        return "method=auto: a study chooses it, in `tutelage distill`, `train` and `check`: here, name a method."
    known = [*registry.catalogue("losses"), *recipes.names()]
    return unknown("method", name, known, "tutelage list losses` and `tutelage list recipes")
