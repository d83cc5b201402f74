"""The command line: one file per sub-command in `commands`, imported when called; thin callers of public functions."""

from __future__ import annotations

import ast
import importlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

import tutelage
from tutelage.cli.error_handling import report_errors
from tutelage.errors import ConfigError, unknown
from tutelage.utils import registry

FOLDER = Path(__file__).parent / "commands"


class CommandFolder(TyperGroup):
    """A group whose sub-commands are the files of `commands`; help reads their first lines and imports none."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the files' names, and those of other packages' sub-commands."""
        return sorted(self._files())

    def _files(self) -> dict[str, Path]:
        built_in = {path.stem: path for path in FOLDER.glob("[!_]*.py")}
        return {name: plugin.path for name, plugin in registry.plugins("commands").items()} | built_in

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a stub of a sub-command with its name and summary, for help."""
        summary = ast.get_docstring(ast.parse(self._files()[cmd_name].read_text(encoding="utf-8")))
        return TyperCommand(cmd_name, help=summary)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept `--debug` at any position."""
        if "--debug" in args:
            args = ["--debug", *(arg for arg in args if arg != "--debug")]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str, Any, list[str]]:
        """Import the sub-command that is called.

        Raises: ConfigError with similar names if there is no such sub-command.
        """
        name, *rest = args
        if name not in self.list_commands(ctx):
            raise ConfigError(unknown("sub-command", name, self.list_commands(ctx)) + " `tutelage --help` lists them.")
        built_in = (FOLDER / f"{name}.py").exists()
        module = (
            importlib.import_module(f"tutelage.cli.commands.{name}")
            if built_in
            else registry.plugins("commands")[name].load()
        )
        command = typer.main.get_command(module.app)
        command.name = name
        for each in (command, *getattr(command, "commands", {}).values()):
            _keep_brackets(each)
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the sub-command; an error becomes a message and an exit code."""
        with report_errors(debug=bool(ctx.params.get("debug"))):
            return super().invoke(ctx)


def _keep_brackets(command: Any) -> None:
    """Escape a command's texts for Rich, which takes the list in `only=[agreement]` for a style and leaves it out."""
    for part in (command, *command.params):
        if getattr(part, "help", None):
            part.help = escape(part.help)


app = typer.Typer(cls=CommandFolder, no_args_is_help=True, pretty_exceptions_enable=False)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"tutelage {tutelage.__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="TUTELAGE_DEBUG", help="Show the tracebacks of errors.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Distil a large model into a small one, and prove that it helped.

    Start with `tutelage distill`, which trains a teacher, a student alone and the same student taught on digits.
    """
    if os.getcwd() not in sys.path:  # for python:my_models:small
        sys.path.insert(0, os.getcwd())


def main() -> None:
    """Run the command line: the entry point of `tutelage` and `python -m tutelage`."""
    app(prog_name="tutelage")
