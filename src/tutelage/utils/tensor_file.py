"""Tensors by name in a safetensors file that holds its own SHA-256: a changed byte is noticed wherever it goes."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tutelage.errors import CheckpointError

OWN = "sha256"


def to_bytes(tensors: Mapping[str, Tensor], facts: Mapping[str, str] | None = None) -> bytes:
    """The file's content: contiguous tensors on the CPU, and what is said beside them; the same for the same."""
    from safetensors.torch import save

    facts = dict(facts or {})
    return _in_order(save(dict(tensors), facts | {OWN: _digest(tensors, facts)}))


def _in_order(content: bytes) -> bytes:
    """The same file with its facts sorted: the library writes them in another order each time."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors stay aligned
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file that `to_bytes` made, and what is said beside them.

    Raises: CheckpointError if it is torn, or was altered; FileNotFoundError if there is none.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            facts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it isn't a mapping)
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is torn: {error}. Restore it from a copy, or train again.") from error
    own = facts.pop(OWN, None)
    if own is None:
        raise CheckpointError(f"{path} isn't a file that tutelage wrote: it doesn't say its own SHA-256.")
    if own != _digest(tensors, facts):
        raise CheckpointError(
            f"{path} was altered since it was written: its SHA-256 is another one. Restore it from a copy, or "
            "train again."
        )
    return tensors, facts


def _digest(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> str:
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        x = tensors[name]
        found.update(f"\n{name} {x.dtype} {tuple(x.shape)} ".encode())
        found.update(x.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
