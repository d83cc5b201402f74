"""Modules that are declared by their annotated fields, and tell by their forward's keywords what they ask."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self, dataclass_transform

from torch import nn

from tutelage.errors import ConfigError
from tutelage.utils.options import Checked, refuse


@dataclass_transform()
class DataclassModule(Checked, nn.Module):
    """A module that is its annotated fields: subclassing makes it a dataclass, which holds values to annotations."""

    if TYPE_CHECKING:
        forward: Callable[..., Any]  # (student, teacher, *, what it asks)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(eq=False, repr=False)(cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: D102
        self = super().__new__(cls, *args, **kwargs)
        nn.Module.__init__(self)  # before the fields are set: they may be modules
        return self

    @classmethod
    def required_inputs(cls, optional: bool = False) -> tuple[str, ...]:
        """What it asks of the batch beside the two sides: its forward's keyword-only parameters.

        Those without a default must be there; with `optional`, those that have one and are passed if they are there.
        """
        parameters = inspect.signature(cls.forward).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and (p.default is not p.empty) == optional)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Its fields' names."""
        return tuple(f.name for f in fields(cls))  # type: ignore[arg-type]

    def options(self) -> dict[str, Any]:
        """Its fields by name."""
        return {name: getattr(self, name) for name in self.names()}

    def extra_repr(self) -> str:
        """Its fields."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options().items())


def positive(declared: DataclassModule, *names: str) -> None:
    """Refuse a field that isn't above zero."""
    for name in names:
        value = getattr(declared, name)
        if not value > 0:
            raise ConfigError(f"{type(declared).__name__}({name}={value!r}): expected a number above 0.")


def build_from_options(cls: type[Any], name: str, options: Mapping[str, Any], also: Sequence[str] = ()) -> Any:
    """One of that class with these options; `also` are words that its user might have meant instead.

    Raises: ConfigError that lists every fault.
    """
    refuse(name, cls, options, also)
    try:
        return cls(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {error}") from error
