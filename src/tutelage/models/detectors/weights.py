"""Saved weights of a detector, which may have been trained for other classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from tutelage.errors import ModelError
from tutelage.models.base import FILE, LoadedModel


def load_detector(loaded: LoadedModel, state: Mapping[str, Tensor], origin: str) -> LoadedModel:
    """Return the detector with the tensors of a state dict that fit it; those of other classes stay as they are.

    Raises: ModelError if less than half of its tensors are there.
    """
    own = loaded.model.state_dict()
    prefixed = {name if name in own else f"detector.{name}": tensor for name, tensor in state.items()}
    fitting = {name: x for name, x in prefixed.items() if name in own and own[name].shape == x.shape}
    others = [name for name in own if name not in fitting and not name.endswith("num_batches_tracked")]
    if len(others) > len(fitting):
        raise ModelError(
            f"{origin} doesn't fit {loaded.name}: {len(others)} of {len(own)} tensors are missing or of another shape, "
            f"such as {others[0]}. Is it the same architecture? {FILE[0].upper()}{FILE[1:]}."
        )
    loaded.model.load_state_dict(own | fitting)
    modules = sorted({name.rpartition(".")[0] for name in others})
    note = f"{origin} was trained for other classes: {', '.join(modules)} start from random weights."
    return replace(loaded, pretrained=True, untrained=[note] if modules else [])
