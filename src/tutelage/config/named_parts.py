"""Parts of the catalogue that a configuration names, alone or with options: `{name: mutual, sequential: true}`."""

from __future__ import annotations

from typing import Any

from tutelage.config.kinds import Spec
from tutelage.utils import registry
from tutelage.utils.options import option_faults

OFFLINE = "offline"
"""The scheme whose traits are known without importing it, and torch with it."""


def name_of(spec: str | Spec) -> str:
    """Return the name of a part; one without a name is refused elsewhere."""
    return spec if isinstance(spec, str) else str(spec.get("name"))


def options_of(spec: str | Spec) -> dict[str, Any]:
    """Return the options of a part."""
    return {} if isinstance(spec, str) else {key: value for key, value in spec.items() if key != "name"}


def refuse_options(package: str, spec: Spec, example: str, maker: str = "from_context") -> None:
    """Refuse a name that the catalogue doesn't have, and options that the class method `maker` doesn't take.

    Raises: ValueError that lists every fault.
    """
    name = spec.get("name")
    if not isinstance(name, str):
        raise ValueError(f"it needs a name, such as {example}")
    kind = registry.find_entry(package, name)
    if faults := option_faults(f"{registry.KINDS[package]} {name}", getattr(kind.load(), maker), options_of(spec)):
        raise ValueError("\n".join(faults))


def scheme_trait(scheme: str, trait: str) -> bool:
    """Return the value of a scheme's `takes_teacher`, `caches_teacher` or `has_peers`."""
    if scheme == OFFLINE:
        return trait in ("takes_teacher", "caches_teacher")
    return bool(getattr(registry.find_entry("schemes", scheme).load(), trait))


def scheme_alone(scheme: str | Spec) -> str | Spec:
    """Return the scheme, with the same options, by which a network is trained that no teacher teaches."""
    name = name_of(scheme)
    alone = OFFLINE if name == OFFLINE else str(registry.find_entry("schemes", name).load().alone)
    return OFFLINE if alone == OFFLINE else {"name": alone, **options_of(scheme)}
