"""Pre-trained weights: from a file, or downloaded, with or without a network connection."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tutelage.errors import ModelError
from tutelage.models.base import LoadedModel
from tutelage.utils.compat import COMPILED

WRAPPERS = (
    "state_dict_ema", "model_ema", "ema", "state_dict", "model_state_dict", "model_state", "model", "network", "net",
    "weights",
)  # fmt: skip
"""Keys under which checkpoints hold a state dict, averaged weights first, in timm's order of preference."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the state dict from a safetensors file, or a torch file that holds tensors only.

    Raises: ModelError if there is no such file, it can't be read, or it holds something else.
    """
    if not path.is_file():
        raise ModelError(f"no weights at {path}: give a .safetensors file, or a .pth of tensors.")
    try:
        with torch.serialization.safe_globals([Namespace]):  # a script's arguments: plain values
            content: Any = (
                load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(path, map_location="cpu", weights_only=True)
            )
    except Exception as error:  # an unpickler may raise anything on other content
        blocked = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it holds {blocked[1]}, which isn't read." if blocked else str(error).partition("\n")[0]
        raise ModelError(
            f"can't read weights from {path}: {reason} Expected a .safetensors file, or a torch file of tensors only; "
            "save it again with `torch.save(model.state_dict(), path)`."
        ) from error
    while isinstance(content, Mapping):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"{path} holds a {type(content).__name__}: expected a state dict (names and tensors).")
    if others := [str(key) for key, value in content.items() if not isinstance(value, Tensor)]:
        raise ModelError(
            f"{path} isn't a state dict: {first_names(others)} is no tensor; expected names and tensors only."
        )
    return {str(key).replace(f"{COMPILED}.", ""): value for key, value in content.items()}


def strip_prefix(state: Mapping[str, Tensor], model_names: Iterable[str]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors under the model's own names, and the names of the tensors that aren't the model's.

    Wrappers prepend a prefix to all names (`module.`, `model.`, `student.backbone.` …): the prefix whose removal
    matches most of the model's names is stripped, the shortest if several match equally many.
    """
    names = set(model_names)
    prefixes = [key.removesuffix(name) for name in names for key in state if key.endswith(f".{name}")]
    counts = Counter({"": len(names & state.keys())} | Counter(prefixes))
    prefix = max(counts, key=lambda candidate: (counts[candidate], -len(candidate)))
    inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return inside, [key for key in state if not key.startswith(prefix)]


def first_names(names: Sequence[str]) -> str:
    """Join the first three names, followed by how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def load_into(loaded: LoadedModel, state: Mapping[str, Tensor], classes: int, origin: str) -> LoadedModel:
    """Load a state dict; tensors that differ only in the number of classes or channels are adapted, and noted.

    A classifier of another number of classes keeps its random weights. A first convolution of another number of
    channels becomes the mean over its input channels, scaled so that the sum stays. The result has the notes on both.
    Raises: ModelError if other names or shapes differ.
    """
    model_state = loaded.model.state_dict()
    state, outside = strip_prefix(state, model_state)
    fitted, notes, untrained = dict(state), list(loaded.notes), list(loaded.untrained)
    if outside:
        notes.append(f"{origin} also holds {first_names(outside)}, which aren't the model's.")
    for key in sorted(model_state.keys() & state.keys()):
        value, target = state[key], model_state[key]
        if value.shape == target.shape:
            continue
        if is_head(value, target, classes):
            fitted[key] = target
            note = (
                f"{key}: {origin} has {value.shape[0]} classes, not {classes}; this layer starts from random weights."
            )
            untrained.append(note)
        elif is_stem(value, target):
            fitted[key] = value.mean(1, keepdim=True).expand_as(target) * (value.shape[1] / target.shape[1])
            note = f"{key}: {origin} has {value.shape[1]} channels, not {target.shape[1]}; averaged over them."
            notes.append(note)
    wrong = [f"{key} {tuple(fitted[key].shape)} in the file, {tuple(model_state[key].shape)} in the model"
             for key in model_state if key in fitted and fitted[key].shape != model_state[key].shape]  # fmt: skip
    missing = [key for key in model_state if key not in fitted and not key.endswith("num_batches_tracked")]
    extra = [key for key in fitted if key not in model_state]
    if classes == 0 and is_classifier({key: fitted[key] for key in extra}):  # of a network that has none
        fitted, extra = {key: x for key, x in fitted.items() if key not in extra}, []
    if not extra and is_classifier({key: model_state[key] for key in missing}):  # the file's network had none
        untrained.append(f"{', '.join(missing)}: {origin} has no classifier; this layer starts from random weights.")
        missing = []
    faults = {"other shapes": wrong, "not in the file": missing, "not in the model": extra}
    if any(faults.values()):
        lists = "; ".join(f"{fault}: {first_names(names)}" for fault, names in faults.items() if names)
        count = sum(map(len, faults.values()))
        raise ModelError(f"{origin} doesn't fit the model in {count} of {len(model_state)} tensors: {lists}. "
                         "Is it the same architecture?")  # fmt: skip
    loaded.model.load_state_dict(model_state | fitted)
    return replace(loaded, pretrained=True, untrained=untrained, notes=notes)


def is_classifier(tensors: Mapping[str, Tensor]) -> bool:
    """Return True if these are the weight, and maybe the bias, of a single linear layer."""
    modules = {name.rpartition(".")[0] for name in tensors}
    return len(modules) == 1 and any(x.dim() == 2 for x in tensors.values()) and len(tensors) <= 2


def is_head(value: Tensor, target: Tensor, classes: int) -> bool:
    """Return True if the two tensors differ in the number of classes only."""
    return target.dim() > 0 and target.shape[0] == classes and value.shape[1:] == target.shape[1:]


def is_stem(value: Tensor, target: Tensor) -> bool:
    """Return True if the two are convolutions that differ in the number of image channels only."""
    same = value.dim() == target.dim() == 4 and (value.shape[0], value.shape[2:]) == (target.shape[0], target.shape[2:])
    return same and 3 in (value.shape[1], target.shape[1])


def is_reachable(url: str, seconds: float = 5.0) -> bool:
    """Return True if a server responds in time, including the address lookup, for which sockets have no time limit."""
    results: list[bool] = []
    request = Thread(target=lambda: results.append(responds(url, seconds)), daemon=True)
    request.start()
    request.join(seconds)
    return bool(results) and results[0]


def responds(url: str, seconds: float) -> bool:
    """Return True if a server responds, even with an error."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def offline_unless_reachable(name: str, mend: str) -> Iterator[None]:
    """Take Hugging Face downloads inside from the cache only, without retries, if the hub can't be reached.

    Raises: ModelError if the files aren't cached either.
    """
    from huggingface_hub import constants

    was_offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = was_offline or not is_reachable(constants.ENDPOINT)
    try:
        yield
    except OSError as error:
        raise download_error(name, mend, error) from error
    finally:
        constants.HF_HUB_OFFLINE = was_offline


def download_error(name: str, mend: str, error: Exception) -> ModelError:
    """Return the error for published weights that are unavailable."""
    reason = str(error).strip().partition("\n")[0]
    return ModelError(
        f"can't get the pretrained weights of {name}, neither from the network nor from the cache: {reason} "
        f"Train from random weights with pretrained=false, or download them elsewhere and {mend}."
    )
