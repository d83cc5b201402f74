"""A configuration from the command line: an optional file, then key=value words; and the help that lists the keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand

from tutelage.errors import ConfigError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from tutelage.config.schema import Config

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE.yaml] [KEY=VALUE]...",
        help="A configuration file, and keys that win over it.",
        autocompletion=lambda incomplete: completed(incomplete),
    ),
]
SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def read(words: Sequence[str] | None, **values: Any) -> Config:
    """The configuration that the words say; values win over them."""
    from tutelage.config import schema

    file, words = split(words or [])
    return schema.read(file, words, **values)


def split(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The file that the words begin with, and the rest."""
    first = words[0] if words else ""
    is_file = "=" not in first and (Path(first).suffix in (".yaml", ".yml") or Path(first).is_file())
    return (Path(first), list(words[1:])) if is_file else (None, list(words))


def completed(begun: str) -> list[str]:
    """What a word may become: a key, or one of the values that a key names."""
    from tutelage.config.schema import Config

    key, equals, text = begun.partition("=")
    if not equals:
        return [f"{name}=" for name in Config.model_fields if name.startswith(key)]
    field = Config.model_fields.get(key)
    choices = [] if field is None else [arg for arg in _named(field.annotation) if arg.startswith(text)]
    return [f"{key}={choice}" for choice in choices]


def _named(kind: Any) -> Iterator[str]:
    """The values that an annotation names: flags, and the words of a choice."""
    if kind is bool:
        yield from ("true", "false")
    elif get_origin(kind) is Literal:
        yield from map(str, get_args(kind))
    else:
        for part in get_args(kind):
            yield from _named(part)


class TextCommand(TyperCommand):
    """A command that takes keys as words."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Words; `--epochs 3` is refused with the right form."""
        for arg in args:
            if arg.startswith("--") and arg != "--help":
                key = arg.lstrip("-").partition("=")[0].replace("-", "_")
                raise ConfigError(f"{arg!r}: keys are given as key=value, such as {key}=…; --help lists them.")
        return super().parse_args(ctx, args)


class KeyValueCommand(TextCommand):
    """A command whose help lists the configuration's keys."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The usual help, then the keys."""
        from tutelage.config.schema import Config
        from tutelage.settings import TrainerSettings
        from tutelage.utils.console import say, table

        super().format_help(ctx, formatter)
        own = {key: field for key, field in Config.model_fields.items() if key not in TrainerSettings.model_fields}
        trainers = {key: Config.model_fields[key] for key in TrainerSettings.model_fields}
        for title, fields in (("Keys: who teaches whom, on what", own), ("Keys: how it is trained", trainers)):
            table(title, ("key", "default", "range", "what it is"), [_row(key, f) for key, f in fields.items()])
            say("")


def _row(key: str, field: FieldInfo) -> tuple[str, ...]:
    default = "none" if field.default is None else field.default
    return key, str(default), ", ".join(_limits([field.annotation, *field.metadata])), field.description or ""


def _limits(parts: Sequence[Any]) -> Iterator[str]:
    """The choices and bounds in an annotation and its metadata."""
    for part in parts:
        if get_origin(part) is Literal:
            yield " | ".join(map(str, get_args(part)))
        elif get_args(part):
            yield from _limits(get_args(part))
        else:
            metadata = getattr(part, "metadata", None)
            yield from _limits(metadata) if metadata else _bounds(part)


def _bounds(part: Any) -> Iterator[str]:
    if not isinstance(part, type):
        yield from (f"{sign} {getattr(part, name):,}" for name, sign in SIGNS.items() if hasattr(part, name))
