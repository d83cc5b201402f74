"""Weights from a file, or from a network that may be down."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tutelage.errors import ModelError
from tutelage.models.base import LoadedModel

WRAPPERS = (
    "state_dict_ema", "model_ema", "ema", "state_dict", "model_state_dict", "model_state", "model", "network", "net",
    "weights",
)  # fmt: skip
"""Where checkpoints have a state dict, averaged weights first, as timm takes them."""


def read(path: Path) -> dict[str, Tensor]:
    """The state dict in a safetensors file or a torch file that holds tensors only.

    Raises: ModelError if there is no such file, it can't be read, or it holds something else.
    """
    if not path.is_file():
        raise ModelError(f"no weights at {path}: give a .safetensors file, or a .pth of tensors.")
    try:
        with torch.serialization.safe_globals([Namespace]):  # the arguments of a script, plain values
            found: Any = (
                load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(path, map_location="cpu", weights_only=True)
            )
    except Exception as error:  # an unpickler may raise anything on bytes that are none of its
        held = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it holds {held[1]}, which isn't read." if held else str(error).partition("\n")[0]
        raise ModelError(
            f"can't read weights from {path}: {reason} Expected a .safetensors file, or a torch file of tensors only; "
            "save others again with `torch.save(model.state_dict(), path)`."
        ) from error
    while isinstance(found, Mapping):
        inner = next((found[key] for key in WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = inner
    if not isinstance(found, Mapping) or not found:
        raise ModelError(f"{path} isn't a state dict (names and tensors), but {type(found).__name__}.")
    if others := [str(key) for key, value in found.items() if not isinstance(value, Tensor)]:
        raise ModelError(f"{path} isn't a state dict (names and tensors): {few(others)} is no tensor.")
    return {str(key).replace("_orig_mod.", ""): value for key, value in found.items()}


def of_model(state: Mapping[str, Tensor], own: Iterable[str]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under the model's own names, and the names of those that lie outside of them.

    Wrappers put a prefix before all names (`module.`, `model.`, `student.backbone.` …): it is the one that leaves most
    of the model's names, none if several do.
    """
    names = set(own)
    known = [key.removesuffix(name) for name in names for key in state if key.endswith(f".{name}")]
    counts = Counter({"": len(names & state.keys())} | Counter(known))
    prefix = max(counts, key=lambda found: (counts[found], -len(found)))
    inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return inside, [key for key in state if not key.startswith(prefix)]


def few(names: Sequence[str]) -> str:
    """The first three, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def load_into(made: LoadedModel, state: Mapping[str, Tensor], classes: int, origin: str) -> None:
    """Load a state dict; what doesn't fit the number of classes or channels is adapted, and said of the model.

    A classifier of another number of classes keeps its random weights. A first convolution of another number of
    channels becomes the mean over its input channels, scaled so that the sum stays.
    Raises: ModelError if other names or shapes differ.
    """
    own = made.model.state_dict()
    state, outside = of_model(state, own)
    fitted = dict(state)
    if outside:
        made.notes.append(f"{origin} also holds {few(outside)}, which aren't the model's.")
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
    wrong = [f"{key} {tuple(fitted[key].shape)} in the file, {tuple(own[key].shape)} in the model"
             for key in own if key in fitted and fitted[key].shape != own[key].shape]  # fmt: skip
    missing = [key for key in own if key not in fitted and not key.endswith("num_batches_tracked")]
    extra = [key for key in fitted if key not in own]
    said = {"other shapes": wrong, "not in the file": missing, "not in the model": extra}
    if any(said.values()):
        lists = "; ".join(f"{what}: {few(names)}" for what, names in said.items() if names)
        count = sum(map(len, said.values()))
        raise ModelError(f"{origin} doesn't fit the model in {count} of {len(own)} tensors: {lists}. "
                         "Is it the same architecture?")  # fmt: skip
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
