"""Players over several devices, each of which holds a share of every weight, gradient and optimiser state (FSDP).

A block's whole weights are gathered when it runs and dropped after it; buffers (batch norm, memory banks) stay whole on
every device. What leaves the training is made whole again: checkpoints, and the networks that are validated and kept.
"""

from __future__ import annotations

import copy
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tutelage.errors import ConfigError
from tutelage.nn.activation_checkpointing import blocks
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.nn.token_grid import split
from tutelage.objective.term import Term
from tutelage.policies.base import Weight
from tutelage.schemes.base import Scheme
from tutelage.structures import Inputs
from tutelage.teachers.moving_average import MovingAverage


def refuse(scheme: Scheme) -> None:
    """Refuse a wired scheme that can't be trained in shares.

    Raises: ConfigError that lists the reasons.
    """
    faults = []
    if any(isinstance(m, MovingAverage) for m in scheme.modules()):
        faults.append("the teacher is the student's moving average, which needs whole weights at each step")
    single = [name for name, p in scheme.players.named_parameters() if p.requires_grad and not p.dim()]
    if single:
        faults.append(f"{', '.join(single)}: a number alone can't be divided")
    for name, term in ((n, m) for n, m in scheme.named_modules() if isinstance(m, Term)):
        requested = {required for names in term.loss_inputs.values() for required in names}
        if "student_head" in requested or ("head" in requested and getattr(scheme, "teacher", None) is None):
            faults.append(f"{name} requires the student's classifier, which is divided")
        if isinstance(term.weight, Weight) and type(term.weight).balance is not Weight.balance:
            faults.append(f"{name}'s weight goes by gradient norms, which aren't measured on shares")
    if faults:
        raise ConfigError("strategy=fsdp: " + "; ".join(faults) + ". Use strategy=ddp.")


def shard(player: nn.Module, inputs: Inputs, mesh: Any) -> nn.Module:
    """Divide the weights of a player, its students' blocks one by one, over the devices of a mesh.

    A block with a captured layer inside keeps its whole weights until the backward pass, as what is in no block does:
    gradients may reach it by that layer alone.
    """
    from torch.distributed.fsdp import fully_shard

    for student in [m for m in player.modules() if isinstance(m, FeatureExtractor)]:
        places = [split(layer)[0] for layer in student.layers]
        for name in blocks(student.model, inputs):
            inside = any(place.startswith(f"{name}.") for place in places) or f"{name}:in" in places
            if any(True for _ in student.model.get_submodule(name).parameters()):
                fully_shard(student.model.get_submodule(name), mesh=mesh, reshard_after_forward=not inside)
    fully_shard(player, mesh=mesh, reshard_after_forward=False)
    return player


def full_state_dict(value: Any) -> Any:
    """Return a state (dicts and lists of tensors) with its shares joined, on the CPU; all processes must call it."""
    if isinstance(value, dict):
        return {name: full_state_dict(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(full_state_dict(x) for x in value)
    return value.full_tensor().cpu() if _is_share(value) else value


def _is_share(value: Any) -> TypeGuard[Any]:
    return isinstance(value, Tensor) and hasattr(value, "full_tensor")


def load(module: nn.Module, state: dict[str, Any]) -> None:
    """Give a module, divided or not, the whole weights of a state."""
    own = module.state_dict()
    module.load_state_dict({name: _as(own.get(name), value) for name, value in state.items()})


def load_optimiser(optimiser: Optimizer, saved: dict[str, Any]) -> None:
    """Give an optimiser, of divided weights or not, a whole state."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state = {i: {key: _as(parameters[i], x) for key, x in values.items()} for i, values in saved["state"].items()}
    optimiser.load_state_dict({**saved, "state": state})


def _as(like: Any, value: Any) -> Any:
    """Return a whole tensor, divided as the reference is, if it has its shape."""
    from torch.distributed.tensor import distribute_tensor

    if not (_is_share(like) and isinstance(value, Tensor) and value.shape == like.shape):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def meta_copy(student: FeatureExtractor) -> FeatureExtractor:
    """Return a copy without weights, to be made before they are divided."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in student.parameters()
    }
    return copy.deepcopy(student, memo)


def with_full_weights(copied: FeatureExtractor, student: FeatureExtractor) -> FeatureExtractor:
    """Return a network with the student's whole weights, from a copy without weights; all processes must call it."""
    made = copy.deepcopy(copied)
    device = next(student.parameters()).device
    state = {name: x.to(device).clone() for name, x in full_state_dict(student.state_dict()).items()}
    made.load_state_dict(state, assign=True)
    return made
