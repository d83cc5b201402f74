"""Train a network without a teacher: a baseline, or the teacher of later runs."""

from __future__ import annotations

import typer

from tutelage.cli.arguments import KeyValueCommand, Words, read
from tutelage.errors import ConfigError

app = typer.Typer(add_completion=False)

EXAMPLES = """Train a network without a teacher: a baseline, or the teacher of later runs (teacher=RUN).

A file's teacher and method are left out.

Examples:

  tutelage train student=resnet32x4 data=folder:photos out=runs/big

  tutelage distill teacher=runs/big student=resnet8x4 data=folder:photos
"""


@app.command(cls=KeyValueCommand, help=EXAMPLES)
def train(words: Words = None) -> None:
    """Run it with progress, then tell the outcome."""
    for word in words or []:
        if word.partition("=")[0] in ("teacher", "method"):
            raise ConfigError(f"{word!r}: `tutelage train` has no teacher; leave it out, or use `tutelage distill`.")
    config = read(words, teacher="none", method=None)
    from tutelage.cli.summary import run

    run(config)
