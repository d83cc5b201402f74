"""Train a network without a teacher: a baseline, or the teacher of later runs."""

from __future__ import annotations

import typer

from tutelage.cli.arguments import Arguments, KeyValueCommand, read_keys
from tutelage.config.methods import AUTO
from tutelage.errors import ConfigError

app = typer.Typer(add_completion=False)

EXAMPLES = """Train a network without a teacher: a baseline, or the teacher of later runs (teacher=RUN).

The keys teacher and method of a configuration file are ignored, unless method=auto chooses or has chosen whether and
how a teacher teaches.

Examples:

  tutelage train student=resnet32x4 data=folder:photos out=runs/big

  tutelage distill teacher=runs/big student=resnet8x4 data=folder:photos

  tutelage train teacher=runs/big student=resnet8x4 data=folder:photos method=auto
"""


@app.command(cls=KeyValueCommand, help=EXAMPLES)
def train(arguments: Arguments = None) -> None:
    """Run the configuration with a progress display, then print the summary."""
    from tutelage.cli.summary import run_keys

    keys = read_keys(arguments)
    if keys.get("method") == AUTO or keys.get("chosen_by"):
        run_keys(keys)
        return
    for arg in arguments or []:
        if arg.partition("=")[0] in ("teacher", "method"):
            raise ConfigError(f"{arg!r}: `tutelage train` has no teacher; remove this key, or use `tutelage distill`.")
    run_keys(keys | {"teacher": "none", "method": None})
