"""Policies from an option of a term, and back to a configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.policies import base
from tutelage.utils.dataclass_module import DataclassModule, build_from_options
from tutelage.utils.registry import catalogue_name, find

P = TypeVar("P", bound=DataclassModule)


class ScheduledTemperature(base.Temperature):  # written so, the catalogue of policies doesn't list it
    """A temperature that is the same for all samples and follows the epoch: τ = schedule(epoch).

    Args:
        schedule: the schedule of τ.

    Raises: ConfigError if the schedule begins or ends at 0 or below.
    """

    schedule: base.Schedule

    def __post_init__(self) -> None:
        if min(self.schedule.at(0.0), self.schedule.at(float("inf"))) <= 0:
            raise ConfigError(f"temperature={self.schedule}: expected a schedule that stays above 0.")

    def forward(self, student: Tensor, teacher: Tensor, *, epoch: float = 0.0) -> Tensor:
        return student.new_tensor(self.schedule.at(epoch))


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
        value = build_from_options(find("policies", name).load(), name, options)
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
