"""Weights from a file, or from a network that may be down."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from threading import Thread
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tutelage.errors import ModelError
from tutelage.models.made import Made

WRAPPERS = ("state_dict", "model", "model_state_dict")


def read(path: Path) -> dict[str, Tensor]:
    """The state dict in a safetensors file or a torch file that holds tensors only.

    Raises: ModelError if there is no such file, it can't be read, or it holds something else.
    """
    if not path.is_file():
        raise ModelError(f"no weights at {path}: give a .safetensors file, or a .pth of tensors.")
    try:
        found: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(
            f"can't read weights from {path}: {reason} Expected a .safetensors file, or a torch file of tensors only; "
            "save others again with `torch.save(model.state_dict(), path)`."
        ) from error
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise ModelError(f"{path} isn't a state dict (names and tensors), but {type(found).__name__}.")
    return {str(key).removeprefix("module."): value for key, value in found.items()}


def load_into(made: Made, state: Mapping[str, Tensor], classes: int, origin: str) -> None:
    """Load a state dict; what doesn't fit the number of classes or channels is adapted, and said of the model.

    A classifier of another number of classes keeps its random weights. A first convolution of another number of
    channels becomes the mean over its input channels, scaled so that the sum stays.
    Raises: ModelError if other names or shapes differ.
    """
    own, fitted = made.model.state_dict(), dict(state)
    for key in sorted(own.keys() & state.keys()):
        value, mine = state[key], own[key]
        if value.shape == mine.shape:
            continue
        if is_head(value, mine, classes):
            fitted[key] = mine
            what = f"{key}: {origin} has {value.shape[0]} classes, not {classes}; this layer begins anew."
            made.untrained.append(what)
        elif is_stem(value, mine):
            fitted[key] = value.mean(1, keepdim=True).expand_as(mine) * (value.shape[1] / mine.shape[1])
            what = f"{key}: {origin} has {value.shape[1]} channels, not {mine.shape[1]}; averaged over them."
            made.notes.append(what)
    wrong = [f"{key}: {tuple(fitted[key].shape)} in the file, {tuple(own[key].shape)} in the model"
             for key in own if key in fitted and fitted[key].shape != own[key].shape]  # fmt: skip
    missing = [
        f"{key}: not in the file" for key in own if key not in fitted and not key.endswith("num_batches_tracked")
    ]
    extra = [f"{key}: not in the model" for key in fitted if key not in own]
    if faults := wrong + missing + extra:
        raise ModelError(f"{origin} doesn't fit the model in {len(faults)} of {len(own)} tensors: "
                         f"{'; '.join(faults[:3])}. Is it the same architecture?")  # fmt: skip
    made.model.load_state_dict(own | fitted)
    made.pretrained = True


def is_head(value: Tensor, mine: Tensor, classes: int) -> bool:
    """Whether the two differ in the number of classes only."""
    return mine.dim() > 0 and mine.shape[0] == classes and value.shape[1:] == mine.shape[1:]


def is_stem(value: Tensor, mine: Tensor) -> bool:
    """Whether the two are convolutions that differ in the number of image channels only."""
    same = value.dim() == mine.dim() == 4 and (value.shape[0], value.shape[2:]) == (mine.shape[0], mine.shape[2:])
    return same and 3 in (value.shape[1], mine.shape[1])


def reachable(url: str, seconds: float = 5.0) -> bool:
    """Whether something answers there in time; looking up the address counts, for which sockets have no limit."""
    answers: list[bool] = []
    asking = Thread(target=lambda: answers.append(answered(url, seconds)), daemon=True)
    asking.start()
    asking.join(seconds)
    return bool(answers) and answers[0]


def answered(url: str, seconds: float) -> bool:
    """Whether something answers there, be it with a refusal."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def hub(name: str, mend: str) -> Iterator[None]:
    """Inside, Hugging Face downloads come from the cache alone, without repeated tries, if the hub can't be reached.

    Raises: ModelError if what is asked for isn't cached either.
    """
    from huggingface_hub import constants

    was = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = was or not reachable(constants.ENDPOINT)
    try:
        yield
    except OSError as error:
        raise cannot_download(name, mend, error) from error
    finally:
        constants.HF_HUB_OFFLINE = was


def cannot_download(name: str, mend: str, error: Exception) -> ModelError:
    """The refusal if published weights can't be had."""
    reason = str(error).strip().partition("\n")[0]
    return ModelError(
        f"can't get the pretrained weights of {name}, neither from the network nor from the cache: {reason} "
        f"Train from random weights with pretrained=false, or download them elsewhere and {mend}."
    )
