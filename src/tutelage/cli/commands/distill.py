"""Teach a student: teacher, student alone and student taught, compared in a report."""

from __future__ import annotations

import typer

from tutelage.cli.arguments import KeyValueCommand, Words, read

app = typer.Typer(add_completion=False)

EXAMPLES = """Teach a student: train the teacher if need be, the student alone, the student taught, and compare them.

Examples:

  tutelage distill

  tutelage distill teacher=resnet32x4 student=resnet8x4 data=folder:photos method=dkd seeds=5

  tutelage distill teacher=runs/big student=timm:mobilenetv4_conv_small data=folder:photos method=kd+0.5*at

  tutelage distill study.yaml epochs=5 device=cpu
"""


@app.command(cls=KeyValueCommand, help=EXAMPLES)
def distill(words: Words = None) -> None:
    """Run it with progress, then tell the outcome."""
    config = read(words)
    from tutelage.cli.summary import run

    run(config)
