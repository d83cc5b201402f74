"""The command line: one file a sub-command in `commands`, read when it is called; thin callers of public functions."""

from __future__ import annotations

import ast
import importlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import tutelage
from tutelage.cli.error_handling import guarded
from tutelage.errors import ConfigError, unknown
from tutelage.utils import registry

FOLDER = Path(__file__).parent / "commands"


class Folder(TyperGroup):
    """The files of `commands` as sub-commands; help reads their first lines and imports none."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the files' names, and those of other packages' sub-commands."""
        return sorted(self._files())

    def _files(self) -> dict[str, Path]:
        ours = {path.stem: path for path in FOLDER.glob("[!_]*.py")}
        return {name: plugin.path for name, plugin in registry.plugins("commands").items()} | ours

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A name with its summary, for help."""
        summary = ast.get_docstring(ast.parse(self._files()[cmd_name].read_text(encoding="utf-8")))
        return TyperCommand(cmd_name, help=summary)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """`--debug` may stand anywhere."""
        if "--debug" in args:
            args = ["--debug", *(arg for arg in args if arg != "--debug")]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str, Any, list[str]]:
        """Import the sub-command that is called.

        Raises: ConfigError with near names.
        """
        name, *rest = args
        if name not in self.list_commands(ctx):
            raise ConfigError(unknown("sub-command", name, self.list_commands(ctx)) + " `tutelage --help` says more.")
        ours = (FOLDER / f"{name}.py").exists()
        module = (
            importlib.import_module(f"tutelage.cli.commands.{name}")
            if ours
            else registry.plugins("commands")[name].load()
        )
        command = typer.main.get_command(module.app)
        command.name = name
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the sub-command; what goes wrong becomes a message and an exit code."""
        with guarded(debug=bool(ctx.params.get("debug"))):
            return super().invoke(ctx)


app = typer.Typer(cls=Folder, no_args_is_help=True, pretty_exceptions_enable=False)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"tutelage {tutelage.__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="TUTELAGE_DEBUG", help="Show tracebacks of what went wrong.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Distil a large model into a small one, and prove that it helped.

    Begin with `tutelage distill`: a teacher, a student alone and the same student taught, on handwritten digits.
    """
    if os.getcwd() not in sys.path:  # for python:my_models:small
        sys.path.insert(0, os.getcwd())


def main() -> None:
    """The entry point of `tutelage` and `python -m tutelage`."""
    app(prog_name="tutelage")
