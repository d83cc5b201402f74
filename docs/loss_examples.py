"""An example of each loss: a program that asks it once, run when its page is written."""

from __future__ import annotations

import contextlib
import io

import torch

from tutelage.losses.base import Loss

ASKED = {
    "targets": "torch.randint(5, (6,))",
    "index": "torch.arange(6)",
    "epoch": "1.0",
    "inputs": "torch.randn(6, 3, 8, 8)",
    "head": "(torch.randn(7, 5), torch.randn(7))",
}
"""What a loss may ask of the batch, in an example of six samples and five classes."""

ONE = 'print(tuple(values.shape), f"mean {values.mean():.4g}")'
PARTS = 'for name, part in values.items():\n    print(name, tuple(part.shape), f"mean {part.mean():.4g}")'


def section(loss: type[Loss]) -> str:
    """A program that asks it once, and what the program printed when the page was made."""
    code, printed, made = program(loss), io.StringIO(), {}
    with torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(printed):
        exec(code, made)
        many = isinstance(made["values"], dict)
        code += "\n" + (PARTS if many else ONE)
        exec(PARTS if many else ONE, made)
    return f"\n## Example\n\n```python\n{code}\n```\n\n```text\n{printed.getvalue().strip()}\n```\n"


def program(loss: type[Loss]) -> str:
    """Python that makes two sides of the loss's kind and compares them."""
    lines = ["import torch", f"from tutelage import {loss.__name__}", "", "torch.manual_seed(0)"]
    flat = loss.feature_format == "vector" or (loss.compares == "response" and loss.maskable)
    if loss.example() is not None:
        lines.append(f"student, teacher, more = {loss.__name__}.example()  # inputs of its kinds")
        asked = ", **more"
    else:
        side = f"torch.randn({'6, 5' if flat else '6, 5, 4, 4'})"
        if loss.compares == "review":
            side = "[torch.randn(6, 5, side, side) for side in (8, 4, 1)]"
        lines += [f"student = {side}", f"teacher = {side}"]
        asked = "".join(f", {name}={ASKED[name]}" for name in loss.required_inputs())
        if loss.compares == "response" and not flat:
            asked = asked.replace("torch.randint(5, (6,))", "torch.randint(5, (6, 4, 4))")
    lines.append(f"loss = {loss.__name__}()")
    if loss.build is not Loss.build:
        lines.append("loss.build(student, teacher, samples=40)  # its learned parts and memories, for 40 samples")
    return "\n".join([*lines, f"values = loss(student, {'teacher' if loss.needs_teacher else 'None'}{asked})"])
