"""Terms from a method or a configuration's mappings, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss, LossSum
from tutelage.nn import connectors
from tutelage.objective.term import Term
from tutelage.policies.parsing import parse_samples, parse_temperature, parse_weight, policy_spec
from tutelage.utils.dataclass_module import DataclassModule, build_from_options
from tutelage.utils.options import option_faults
from tutelage.utils.registry import catalogue_name, find_entry

Method = Loss | LossSum | Term | Mapping[str, Any] | Iterable[Any] | str
"""A method: a loss or a term, its name or its description, a sum of losses, or a list of all these."""

TERM_OPTIONS = (
    "weight",
    "student",
    "teacher",
    "connector",
    "warmup",
    "gather",
    "samples",
    "task_loss_weight",
    "stream",
    "part",
)
"""The options of a term, in addition to its loss's."""

PARSERS: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "weight": (Mapping, parse_weight),
    "temperature": (Mapping, parse_temperature),
    "samples": (Mapping, parse_samples),
    "connector": (str, connectors.require_known),
}
"""The options that a configuration describes by a value of this type, and the value's parser."""


def term_from_spec(spec: Mapping[str, Any]) -> Term:
    """Return the term that `{name: at, weight: 0.5, student: layer2, teacher: layer3, …the loss's options}` describes.

    Raises: ConfigError that lists every fault.
    """
    options = dict(spec)
    wiring = {k: options.pop(k) for k in TERM_OPTIONS if options.get(k) is not None}
    name = options.pop("name", None)
    if not name:
        raise ConfigError(f"a term needs a name: {dict(spec)}; for instance {{name: at, weight: 0.5}}.")
    kind = find_entry("losses", name).load()
    if isinstance(options.get("temperature"), Mapping | DataclassModule):
        wiring["temperature"] = options.pop("temperature")
        options |= {"temperature": 1.0} if "temperature" in kind.option_names() else {}
    faults = option_faults(name, kind, options, TERM_OPTIONS) + option_faults(name, Term, wiring)
    for option, (values, parse) in PARSERS.items():
        if isinstance(wiring.get(option), values):
            try:
                wiring[option] = parse(wiring[option])
            except ConfigError as error:
                faults.append(f"{name}: {error}")
    if faults:
        raise ConfigError("\n".join(faults))
    return Term(build_from_options(kind, name, options, TERM_OPTIONS), **wiring)


def term_spec(term: Term) -> dict[str, Any]:
    """Return the mapping from which `from_spec` builds the term.

    A value that isn't plain is there by its repr, which from_spec refuses.
    """
    wiring = {
        "warmup": term.given["warmup"],
        "gather": term.gather or None,
        "part": term.part,
        "stream": term.stream if term.stream != term.default_stream else None,
        "task_loss_weight": term.given["task_loss_weight"],
        "connector": term.request.connector if term.request.connector != term.loss.connector else None,
        **{side: names or None for side, names in term.request.layers.items()},
        **{option: policy_spec(policy) for option, policy in term.policies().items()},
        "weight": _weight_spec(term),
    }
    values = {key: value for key, value in {**term.loss.options(), **wiring}.items() if value is not None}
    plain = (str, int, float, bool, list, dict)
    own = {"name": catalogue_name(type(term.loss))}
    return own | {k: v if isinstance(v, plain) else repr(v) for k, v in values.items()}


def _weight_spec(term: Term) -> Any:
    """Return the weight as a configuration gives it; None if the term's options leave it open."""
    if term.given["weight"] in (None, "auto", "paper"):
        return term.given["weight"]
    return policy_spec(term.weight) if isinstance(term.weight, DataclassModule) else term.weight


def terms_from_method(method: Method | None) -> list[Term]:
    """Return the terms of a method.

    Raises: ConfigError that lists the faults of all terms.
    """
    terms: list[Term] = []
    faults: list[str] = []
    for part in _parts(method):
        try:
            terms.append(_term(part))
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
    return terms


def _parts(method: Method | None) -> list[Any]:
    if method is None:
        return []
    if isinstance(method, LossSum):
        return list(method.parts)
    if isinstance(method, Loss | Term | Mapping | str):
        return [method]
    if isinstance(method, nn.ModuleDict):  # terms by name
        return list(method.values())
    if not isinstance(method, Iterable):
        raise ConfigError(f"{method!r} is no part of a method: expected a loss, a sum of losses, or a list of them.")
    return [part for item in method for part in ([item] if _is_pair(item) else _parts(item))]


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], Loss)


def _term(part: Any) -> Term:
    if isinstance(part, Term):
        return part
    if isinstance(part, Loss):
        return Term(part)
    if isinstance(part, str):
        return Term(find_entry("losses", part).load()())
    if isinstance(part, Mapping):
        return term_from_spec(part)
    weight, loss = part
    return Term(loss, weight)
