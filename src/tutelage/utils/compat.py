"""Parts of other libraries that are not their public API, each in one function, with the version that had it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

# torch 2.15: no public module has the class that sees every operation.
from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode

COMPILED = "_orig_mod"
"""torch 2.15: the submodule in which torch.compile's OptimizedModule keeps the model, and so a part of its keys."""

Conversion = Callable[[Tensor], Tensor]


class ConvertibleModule(nn.Module):
    """A module whose `convert` runs when its tensors are converted: by its own or an outer module's `to`, `half` …"""

    def convert(self, conversion: Conversion, recurse: bool = True) -> None:
        """Convert the parameters and buffers of this module and, if `recurse`, of its submodules."""
        super()._apply(conversion, recurse)  # type: ignore[no-untyped-call]

    def _apply(self, fn: Conversion, recurse: bool = True) -> ConvertibleModule:
        self.convert(fn, recurse)  # torch 2.15: an outer module's `to` calls no public method of its submodules
        return self


def convert(module: nn.Module, conversion: Conversion, recurse: bool = True) -> None:
    """Convert the parameters and buffers of any module, as `to`, `half` … do."""
    module._apply(conversion, recurse)  # torch 2.15


class BatchNormOfAnyShape(nn.BatchNorm2d):
    """Batch normalisation that accepts any number of positions, also none."""

    def _check_input_dim(self, input: Tensor) -> None:
        """torch 2.15: each public class rejects other shapes here; the arithmetic is the same."""


def unwrap(module: nn.Module) -> Any:
    """Return the module inside the wrappers of Fabric, DDP and torch.compile."""
    # lightning 2.6: _FabricModule keeps it as `_forward_module`; torch 2.15: DDP as `module`, OptimizedModule as
    # COMPILED. Looked up in `_modules`, as a wrapper's attributes are also those of what it wraps.
    for inner in ("_forward_module", "module", COMPILED):
        while inner in module._modules:
            module = module._modules[inner]  # type: ignore[assignment]
    return module


def unwrap_compiled(model: nn.Module) -> nn.Module:
    """Return what torch.compile was given; any other model as it is."""
    return getattr(model, COMPILED, model)


def with_submodules(module: nn.Module, **replaced: nn.Module) -> Any:
    """Return a shallow copy of a module with some of its submodules replaced; the module keeps its own."""
    copied = copy.copy(module)
    copied._modules = {**module._modules, **replaced}  # torch 2.15: a shallow copy shares this dict
    return copied


def buffers_of(module: nn.Module) -> dict[str, Tensor | None]:
    """Return the dict in which a module itself keeps its buffers."""
    return module._buffers  # torch 2.15


def parameters_of(module: nn.Module) -> dict[str, nn.Parameter | None]:
    """Return the dict in which a module itself keeps its parameters, also the absent ones (bias=False)."""
    return module._parameters  # torch 2.15


def has_forward_hooks(module: nn.Module) -> bool:
    """Return whether hooks run before or after the module's forward."""
    return bool(module._forward_hooks or module._forward_pre_hooks)  # torch 2.15


def has_running_statistics(module: nn.Module) -> bool:
    """Return whether the module is a batch or instance norm with running statistics."""
    # torch 2.15: the public classes have no other base in common
    return isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats


def count_inplace_writes(x: Tensor) -> int:
    """Return how often a tensor was written in place; 0 where that is unknown."""
    return 0 if torch.compiler.is_compiling() or x.is_inference() else x._version  # torch 2.15


def tree_leaves(tree: Any) -> list[Any]:
    """Return what nested lists, tuples and dicts hold."""
    from torch.utils._pytree import tree_leaves  # torch 2.15

    return tree_leaves(tree)


def cpu_computes_bfloat16() -> bool:
    """Return True if oneDNN computes in bfloat16 on this CPU without emulation, or if torch has no oneDNN."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # torch 2.15
    except AttributeError:
        return True


def set_last_lr(schedule: LRScheduler, rates: Sequence[Any]) -> None:
    """Make these the rates that the schedule gives as its last."""
    schedule._last_lr = list(rates)  # torch 2.15: `get_last_lr` returns it, and only `step` sets it


def with_start_method(strategy: type[Any], start: str) -> type[Any]:
    """Return one of Fabric's strategies that starts its processes in this way instead of as scripts."""
    # lightning 2.6: DDPStrategy takes `start_method`, ModelParallelStrategy doesn't
    from lightning.fabric.strategies.launchers.multiprocessing import _MultiProcessingLauncher

    def configure_launcher(self: Any) -> None:
        self._launcher = _MultiProcessingLauncher(self, start_method=start)  # type: ignore[arg-type]

    return type(strategy.__name__, (strategy,), {"_configure_launcher": configure_launcher})


def initial_prediction(estimator: Any, x: Any) -> Any:
    """Return the raw prediction (1, K) of scikit-learn's fitted gradient boosting before its first tree."""
    return estimator._raw_predict_init(x)  # scikit-learn 1.9: the public functions add the trees


def histogram_boosting(estimator: Any) -> tuple[Any, list[list[Any]]]:
    """Return the first prediction and the trees of each round of scikit-learn's fitted histogram gradient boosting."""
    return estimator._baseline_prediction, estimator._predictors  # scikit-learn 1.9: no public attribute has them
