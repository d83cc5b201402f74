"""How hard, how soft and on which samples a term teaches: one file a policy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.policies.base import Schedule, Temperature
from tutelage.utils.dataclass_module import DataclassModule, build_from_options
from tutelage.utils.registry import catalogue_name, find

P = TypeVar("P", bound=DataclassModule)


class ScheduledTemperature(Temperature):
    """The same temperature for all samples, by the epoch: τ = schedule(epoch).

    Raises: ConfigError if the schedule begins or ends at 0 or below.
    """

    schedule: Schedule

    def __post_init__(self) -> None:
        if min(self.schedule.at(0.0), self.schedule.at(float("inf"))) <= 0:
            raise ConfigError(f"temperature={self.schedule}: expected to stay above 0.")

    def forward(self, student: Tensor, teacher: Tensor, *, epoch: float = 0.0) -> Tensor:
        return student.new_tensor(self.schedule.at(epoch))


def parse_policy(word: str, given: Any, *kinds: type[P]) -> P:
    """The policy that an option `word` of a term gives: itself, or by `{name: ramp, …its options}`.

    Raises: ConfigError if it is of no such kind, isn't known, or has faulty options.
    """
    if isinstance(given, Mapping):
        options = dict(given)
        name = options.pop("name", None)
        if not name:
            raise ConfigError(f"{word}={dict(given)}: a policy needs a name, such as {{name: ramp, epochs: 5}}.")
        given = build_from_options(find("policies", name).load(), name, options)
    if not isinstance(given, kinds):
        names = " or a ".join(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).lower() for kind in kinds)
        raise ConfigError(f"{word}={given!r}: expected a number or a {names} policy (tutelage list policies).")
    return given


def describe_policy(given: float | DataclassModule) -> float | str:
    """A number as it is, a policy as its name with its options."""
    if not isinstance(given, DataclassModule):
        return given
    options = policy_spec(given)
    return f"{options.pop('name')}({', '.join(f'{key}={value}' for key, value in options.items())})"


def policy_spec(given: DataclassModule) -> dict[str, Any]:
    """What `policy` makes it of."""
    if isinstance(given, ScheduledTemperature):
        return policy_spec(given.schedule)
    return {"name": catalogue_name(type(given))} | given.options()
