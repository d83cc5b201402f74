"""Train a network without a teacher: a baseline, or the teacher of later runs."""

from __future__ import annotations

import typer

from tutelage.cli.arguments import Arguments, KeyValueCommand, read_config
from tutelage.errors import ConfigError

app = typer.Typer(add_completion=False)

EXAMPLES = """Train a network without a teacher: a baseline, or the teacher of later runs (teacher=RUN).

The keys teacher and method of a configuration file are ignored.

Examples:

  tutelage train student=resnet32x4 data=folder:photos out=runs/big

  tutelage distill teacher=runs/big student=resnet8x4 data=folder:photos
"""


@app.command(cls=KeyValueCommand, help=EXAMPLES)
def train(arguments: Arguments = None) -> None:
    """Run the configuration with a progress display, then print the summary."""
    for arg in arguments or []:
        if arg.partition("=")[0] in ("teacher", "method"):
            raise ConfigError(f"{arg!r}: `tutelage train` has no teacher; remove this key, or use `tutelage distill`.")
    config = read_config(arguments, teacher="none", method=None)
    from tutelage.cli.summary import run

    run(config)
