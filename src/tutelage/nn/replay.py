"""Record the outputs of modules in one forward and replay them in another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn

from tutelage.errors import ModelError

Recording = dict[nn.Module, list[Any]]
"""The outputs of each module, in the order of its calls."""


@contextmanager
def record_outputs(modules: Mapping[nn.Module, int]) -> Iterator[Recording]:
    """Record, inside the context, the outputs of each module's first calls.

    Args:
        modules: For each module, the number of calls to record.
    """
    recording: Recording = {module: [] for module in modules}

    def record(calls: int, module: nn.Module, args: Any, out: Any) -> None:
        if len(recording[module]) < calls:
            recording[module].append(out)

    handles = [module.register_forward_hook(partial(record, calls)) for module, calls in modules.items()]
    try:
        yield recording
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replay_outputs(recording: Recording) -> Iterator[None]:
    """Make modules return their recorded outputs, in order, inside the context; further calls run the module.

    Raises: ModelError if a module was called less often than it was recorded.
    """
    remaining = {module: list(outputs) for module, outputs in recording.items()}
    instance_forwards = {module: vars(module).get("forward") for module in recording}
    for module, outputs in remaining.items():
        module.forward = partial(_replay, module.forward, outputs)
    try:
        yield
    finally:
        for module, forward in instance_forwards.items():
            del module.forward
            if forward is not None:
                module.forward = forward
    if left := dict.fromkeys(type(module).__name__ for module, outputs in remaining.items() if outputs):
        raise ModelError(
            f"a forward calls {', '.join(left)} less often than the forward whose outputs it is given: the model's "
            "forward depends on random numbers or on values, or the model is compiled; use another model, or set "
            "compile=false."
        )


def _replay(forward: Callable[..., Any], outputs: list[Any], *args: Any, **kwargs: Any) -> Any:
    return outputs.pop(0) if outputs else forward(*args, **kwargs)
