"""Writes an example program for each loss, and runs it when the loss's page is generated."""

from __future__ import annotations

import contextlib
import io

import torch

from tutelage.losses.base import Loss

INPUTS = {
    "targets": "torch.randint(5, (6,))",
    "index": "torch.arange(6)",
    "epoch": "1.0",
    "inputs": "torch.randn(6, 3, 8, 8)",
    "head": "(torch.randn(7, 5), torch.randn(7))",
}
"""Inputs that a loss may require, for an example with six samples and five classes."""

PRINT_TENSOR = 'print(tuple(values.shape), f"mean {values.mean():.4g}")'
PRINT_PARTS = 'for name, part in values.items():\n    print(name, tuple(part.shape), f"mean {part.mean():.4g}")'


def section(loss: type[Loss]) -> str:
    """Return the section with a program that calls the loss once, and its output."""
    code, printed, namespace = program(loss), io.StringIO(), {}
    with torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(printed):
        exec(code, namespace)
        lines = PRINT_PARTS if isinstance(namespace["values"], dict) else PRINT_TENSOR
        code += "\n" + lines
        exec(lines, namespace)
    return f"\n## Example\n\n```python\n{code}\n```\n\n```text\n{printed.getvalue().strip()}\n```\n"


def program(loss: type[Loss]) -> str:
    """Return a program that builds inputs for both sides of the loss and compares them."""
    lines = ["import torch", f"from tutelage import {loss.__name__}", "", "torch.manual_seed(0)"]
    flat = loss.feature_format == "vector" or (loss.compares == "response" and loss.maskable)
    if loss.example() is not None:
        lines.append(f"student, teacher, more = {loss.__name__}.example()  # inputs with suitable shapes")
        extra = ", **more"
    else:
        side = f"torch.randn({'6, 5' if flat else '6, 5, 4, 4'})"
        if loss.compares == "review":
            side = "[torch.randn(6, 5, side, side) for side in (8, 4, 1)]"
        lines += [f"student = {side}", f"teacher = {side}"]
        extra = "".join(f", {name}={INPUTS[name]}" for name in loss.required_inputs())
        if loss.compares == "response" and not flat:
            extra = extra.replace("torch.randint(5, (6,))", "torch.randint(5, (6, 4, 4))")
    lines.append(f"loss = {loss.__name__}()")
    if loss.build is not Loss.build:
        lines.append("loss.build(student, teacher, samples=40)  # learned parts and memory banks, for 40 samples")
    return "\n".join([*lines, f"values = loss(student, {'teacher' if loss.needs_teacher else 'None'}{extra})"])
