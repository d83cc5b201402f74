"""Networks as mappings: `teacher: {model: resnet56, epochs: 60}` in place of `teacher` and `teacher_epochs`.

The same holds for `student`, and for the items of the lists `teacher` and `peers`; and `data: {labelled: …, …}` stands
for `data` and `streams`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tutelage.errors import ConfigError, unknown
from tutelage.utils.stream_names import LABELLED, STREAMS

Keys = Mapping[str, Any]


def flatten_networks(keys: Keys, known: Collection[str]) -> dict[str, Any]:
    """Return the keys with a nested teacher or student as `teacher`, `teacher_…` and `student`, `student_…`.

    A list of teachers keeps mappings with the keys that differ; keys with equal values become `teacher_…`, and
    `classes` becomes a list with an entry for each. Stages are flattened too.

    Args:
        keys: a run's keys, or those of one training.
        known: all keys that a run can have.

    Raises: ConfigError for an unknown key, or one that is set twice.
    """
    result = {**keys}
    if isinstance(keys.get("data"), Mapping):
        result = _with_streams(result)
    for role in ("teacher", "student"):
        if _is_nested(keys.get(role)):
            spec = _checked(role, keys[role], known)
            result = _with(result, {role: spec["model"]} | _prefixed(role, spec))
    if isinstance(keys.get("teacher"), list) and any(isinstance(item, Mapping) for item in keys["teacher"]):
        result = _with(result, _joined([_checked("teacher", _spec(item), known) for item in keys["teacher"]]))
    if isinstance(keys.get("peers"), list):
        result["peers"] = [
            _short(_checked("student", peer, known, "peers")) if isinstance(peer, Mapping) else peer
            for peer in keys["peers"]
        ]
    if isinstance(keys.get("stages"), list):
        result["stages"] = [
            flatten_networks(stage, known) if isinstance(stage, Mapping) else stage for stage in keys["stages"]
        ]
    return result


def _with_streams(keys: dict[str, Any]) -> dict[str, Any]:
    """Return the keys with the streams of `data` as `data` and `streams`."""
    specs = {
        str(name): dict(spec) if isinstance(spec, Mapping) else {"source": spec} for name, spec in keys["data"].items()
    }
    if wrong := [name for name in specs if name not in STREAMS]:
        raise ConfigError("\n".join(unknown("stream of data", name, STREAMS) for name in wrong))
    if LABELLED not in specs or len(specs) < 2:
        raise ConfigError(f"data={dict(keys['data'])}: expected labelled, and unlabelled or target too.")
    shares = {name: spec.pop("share") for name, spec in specs.items() if "share" in spec}
    labelled = specs.pop(LABELLED)
    if wrong := [key for spec in (labelled, *specs.values()) for key in spec if key != "source"]:
        raise ConfigError("\n".join(unknown("key of a stream", str(key), ["source", "share"]) for key in wrong))
    if not isinstance(labelled.get("source"), str):
        raise ConfigError(f"data={dict(keys['data'])}: labelled needs a source, such as {{source: digits}}.")
    if shares:
        shares = _all_shares(shares, [LABELLED, *specs])
    for name, spec in specs.items():
        spec |= {"share": shares[name]} if shares else {}
    if keys.get("streams") not in (None, {}, specs):
        raise ConfigError("streams is set twice, in data={…} and as streams: leave one out.")
    return keys | {"data": labelled["source"], "streams": specs}


def _all_shares(shares: Keys, names: Sequence[str]) -> dict[str, Any]:
    """Return a share for each name: what is left over, divided equally, for those without one.

    Raises: ConfigError unless they are fractions that add up to 1.
    """
    others = [name for name in names if name not in shares]
    numbers = all(isinstance(share, float | int) and 0 < share < 1 for share in shares.values())
    total = sum(shares.values()) if numbers else 0.0
    if not numbers or (total >= 1 if others else abs(total - 1) > 1e-6):
        raise ConfigError(
            f"share={dict(shares)}: expected fractions of a batch that add up to 1 over {', '.join(names)}."
        )
    return {**shares, **{name: (1 - total) / len(others) for name in others}}


def _is_nested(network: Any) -> bool:
    """Return whether it is a mapping for a network; a mapping with a name is a teacher of the catalogue."""
    return isinstance(network, Mapping) and "name" not in network


def _spec(item: Any) -> Any:
    return item if isinstance(item, Mapping) else {"model": item}


def _short(spec: Keys) -> Any:
    return spec["model"] if spec.keys() == {"model"} else dict(spec)


def _checked(role: str, spec: Keys, known: Collection[str], where: str = "") -> dict[str, Any]:
    if not isinstance(spec.get("model"), str):
        raise ConfigError(f"{where or role}={dict(spec)}: it needs a model, such as {{model: resnet56}}.")
    prefix = f"{role}_"
    names = {"model", *(key.removeprefix(prefix) for key in known if key.startswith(prefix))}
    if wrong := [str(key) for key in spec if key not in names]:
        raise ConfigError("\n".join(unknown(f"key of a {role}", key, sorted(names)) for key in wrong))
    return dict(spec)


def _prefixed(role: str, spec: Keys) -> dict[str, Any]:
    return {f"{role}_{key}": value for key, value in spec.items() if key != "model"}


def _joined(specs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return several teachers as `teacher` and the keys that all have alike."""
    first = specs[0]
    alike = {key: x for key, x in first.items() if key != "model" and all(key in s and s[key] == x for s in specs)}
    with_classes, with_ahead = (sum(key in spec for spec in specs) for key in ("classes", "ahead"))
    if with_classes not in (0, len(specs)):
        raise ConfigError("teacher: expected classes of each teacher in the list, or of none.")
    if with_classes:
        alike["classes"] = [spec["classes"] for spec in specs]
    if with_ahead and "ahead" not in alike:
        raise ConfigError("teacher: ahead is one number for all teachers in a list: set it as teacher_ahead=2.")
    items = [_short({key: value for key, value in spec.items() if key not in alike}) for spec in specs]
    return {"teacher": items} | _prefixed("teacher", alike)


def _with(keys: dict[str, Any], nested: Keys) -> dict[str, Any]:
    if twice := [key for key in nested if key in keys and "_" in key]:
        raise ConfigError(f"{twice[0]} is set twice, in a mapping and as {twice[0]}: leave one out.")
    return keys | dict(nested)
