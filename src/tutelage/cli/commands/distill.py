"""Distil a teacher into a student, and compare it with the student alone in a report."""

from __future__ import annotations

import typer

from tutelage.cli.arguments import Arguments, KeyValueCommand, read_keys

app = typer.Typer(add_completion=False)

EXAMPLES = """Distil a teacher into a student: train the teacher if needed, the student alone and taught, and compare.

Examples:

  tutelage distill

  tutelage distill teacher=resnet32x4 student=resnet8x4 data=folder:photos method=dkd seeds=5

  tutelage distill teacher=runs/big student=timm:mobilenetv4_conv_small data=folder:photos method=kd+0.5*at

  tutelage distill study.yaml epochs=5 device=cpu

  tutelage distill teacher=runs/big student=cnn4 method=auto      chooses the method by short trainings first
"""


@app.command(cls=KeyValueCommand, help=EXAMPLES)
def distill(arguments: Arguments = None) -> None:
    """Run the configuration with a progress display, then print the summary."""
    keys = read_keys(arguments)
    from tutelage.cli.summary import run_keys

    run_keys(keys)
