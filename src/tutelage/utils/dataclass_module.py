"""nn.Modules declared as dataclasses; keyword-only parameters of forward are the inputs they require."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self, dataclass_transform

from torch import nn

from tutelage.errors import ConfigError
from tutelage.utils.options import CheckedArguments, check_options


@dataclass_transform()
class DataclassModule(CheckedArguments, nn.Module):
    """Base class of modules declared by annotated fields: a subclass becomes a dataclass with type-checked fields."""

    if TYPE_CHECKING:
        forward: Callable[..., Any]  # (student, teacher, *, required inputs)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(eq=False, repr=False)(cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: D102
        self = super().__new__(cls, *args, **kwargs)
        nn.Module.__init__(self)  # before the fields are set: they may be modules
        return self

    @classmethod
    def required_inputs(cls, optional: bool = False) -> tuple[str, ...]:
        """Return the inputs required in addition to the two sides: forward's keyword-only parameters without a default.

        optional: return those with a default instead, which are passed if the batch provides them.
        """
        parameters = inspect.signature(cls.forward).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and (p.default is not p.empty) == optional)

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the names of the fields."""
        return tuple(f.name for f in fields(cls))  # type: ignore[arg-type]

    def options(self) -> dict[str, Any]:
        """Return the fields' values by name."""
        return {name: getattr(self, name) for name in self.option_names()}

    def extra_repr(self) -> str:
        """Return the fields for the module's repr."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options().items())


def require_positive(module: DataclassModule, *names: str) -> None:
    """Reject fields that aren't above zero.

    Raises: ConfigError.
    """
    for name in names:
        value = getattr(module, name)
        if not value > 0:
            raise ConfigError(f"{type(module).__name__}({name}={value!r}): expected a number above 0.")


def build_from_options(cls: type[Any], name: str, options: Mapping[str, Any], also: Sequence[str] = ()) -> Any:
    """Create an instance of the class with these options; also: further names to suggest for an unknown option.

    Raises: ConfigError that lists every fault.
    """
    check_options(name, cls, options, also)
    try:
        return cls(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {error}") from error
