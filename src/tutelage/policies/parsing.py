"""Policies from an option of a term, and back to a configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from tutelage.errors import ConfigError
from tutelage.policies.base import SampleWeight, Schedule, ScheduledTemperature, Temperature, Weight
from tutelage.utils.dataclass_module import DataclassModule, build_from_options
from tutelage.utils.registry import catalogue_name, find_entry

P = TypeVar("P", bound=DataclassModule)


def parse_policy(option: str, value: Any, *kinds: type[P]) -> P:
    """Return the policy that a term's option names.

    Args:
        option: the option's name, for messages.
        value: a policy, or a mapping with its name and its options, such as `{name: ramp, epochs: 5}`.
        *kinds: the base classes of the policies that the option takes.

    Raises: ConfigError if the policy is of another kind, is unknown, or has faulty options.
    """
    if isinstance(value, Mapping):
        options = dict(value)
        name = options.pop("name", None)
        if not name:
            raise ConfigError(f"{option}={dict(value)}: a policy needs a name, such as {{name: ramp, epochs: 5}}.")
        value = build_from_options(find_entry("policies", name).load(), name, options)
    if not isinstance(value, kinds):
        names = " or a ".join(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).lower() for kind in kinds)
        raise ConfigError(f"{option}={value!r}: expected a number or a {names} policy (tutelage list policies).")
    return value


def describe_policy(value: float | DataclassModule) -> float | str:
    """Return a number unchanged, and a policy as a string: its name and its options."""
    if not isinstance(value, DataclassModule):
        return value
    options = policy_spec(value)
    return f"{options.pop('name')}({', '.join(f'{key}={option}' for key, option in options.items())})"


def policy_spec(policy: DataclassModule) -> dict[str, Any]:
    """Return the mapping from which `parse_policy` builds the policy."""
    if isinstance(policy, ScheduledTemperature):
        return policy_spec(policy.schedule)
    return {"name": catalogue_name(type(policy))} | policy.options()


def parse_weight(value: Any) -> float | Schedule | Weight:
    """Return a term's weight: a number, or the policy that a mapping describes."""
    if not isinstance(value, Mapping | DataclassModule):
        return float(value)
    return cast("Schedule | Weight", parse_policy("weight", value, Schedule, Weight))


def parse_temperature(value: Any) -> Temperature:
    """Return a term's policy of its temperature; a schedule becomes one."""
    policy = cast("Schedule | Temperature", parse_policy("temperature", value, Schedule, Temperature))
    return ScheduledTemperature(policy) if isinstance(policy, Schedule) else policy


def parse_samples(value: Any) -> SampleWeight:
    """Return a term's policy of its sample weights."""
    return parse_policy("samples", value, SampleWeight)
