"""Read a configuration from the command line (an optional file, then key=value), and list its keys in help."""

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

Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE.yaml] [KEY=VALUE]...",
        help="A configuration file, and keys that override it.",
        autocompletion=lambda incomplete: list_completions(incomplete),
    ),
]
SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def read_config(arguments: Sequence[str] | None, **values: Any) -> Config:
    """Read the configuration from command-line arguments; `values` override them."""
    from tutelage.config import schema

    file, pairs = split_file(arguments or [])
    return schema.read(file, pairs, **values)


def read_keys(arguments: Sequence[str] | None) -> dict[str, Any]:
    """Read the keys from command-line arguments, unchecked; later ones win.

    Raises: ConfigError if they can't be read, or if the file is of a choice whose folder was moved.
    """
    from tutelage.config import parsing, schema

    file, pairs = split_file(arguments or [])
    keys, given = parsing.read_file(file, schema.key_types()) if file is not None else {}, schema.parse_pairs(pairs)
    if file is not None and file.name == "auto.yaml" and keys.get("out") and "out" not in given:
        from tutelage.study.choice_folder import refuse_moved

        refuse_moved(file, str(keys["out"]), file.parent.parent)
    return keys | given


def split_file(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Split the arguments into the configuration file, if the first names one, and the key=value pairs."""
    first = arguments[0] if arguments else ""
    is_file = "=" not in first and (Path(first).suffix in (".yaml", ".yml") or Path(first).is_file())
    return (Path(first), list(arguments[1:])) if is_file else (None, list(arguments))


def list_completions(incomplete: str) -> list[str]:
    """List the completions of an argument: keys, or the named values of a key."""
    from tutelage.config.schema import Config

    key, equals, text = incomplete.partition("=")
    if not equals:
        return [f"{name}=" for name in Config.model_fields if name.startswith(key)]
    field = Config.model_fields.get(key)
    choices = [] if field is None else [arg for arg in _choices(field.annotation) if arg.startswith(text)]
    return [f"{key}={choice}" for choice in choices]


def _choices(annotation: Any) -> Iterator[str]:
    """The values that an annotation lists: true and false, and the values of a Literal."""
    if annotation is bool:
        yield from ("true", "false")
    elif get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    else:
        for part in get_args(annotation):
            yield from _choices(part)


class TextCommand(TyperCommand):
    """A command that takes its keys as key=value arguments."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; `--epochs 3` is an error whose message gives the right form."""
        for arg in args:
            if arg.startswith("--") and arg != "--help":
                key = arg.lstrip("-").partition("=")[0].replace("-", "_")
                raise ConfigError(f"{arg!r}: write keys as key=value, such as {key}=…; --help lists them.")
        return super().parse_args(ctx, args)


class KeyValueCommand(TextCommand):
    """A command whose help lists the configuration's keys."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the usual help, then the keys."""
        from tutelage.config.schema import Config
        from tutelage.settings import TrainerSettings
        from tutelage.utils.console import print_lines, print_table

        super().format_help(ctx, formatter)
        run_keys = {key: field for key, field in Config.model_fields.items() if key not in TrainerSettings.model_fields}
        trainer_keys = {key: Config.model_fields[key] for key in TrainerSettings.model_fields}
        for title, fields in (("Keys: models, method and data", run_keys), ("Keys: training", trainer_keys)):
            print_table(title, ("key", "default", "range", "meaning"), [key_row(key, f) for key, f in fields.items()])
            print_lines("")


def key_row(key: str, field: FieldInfo) -> tuple[str, ...]:
    """Return a key with its default, its range and its meaning."""
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
