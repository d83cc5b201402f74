"""Named tensors in a safetensors file with its own SHA-256, so that a changed byte is detected."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tutelage.errors import CheckpointError

DIGEST = "sha256"


def encode_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the file's content: contiguous CPU tensors, and metadata; deterministic."""
    from safetensors.torch import save

    metadata = dict(metadata or {})
    return _with_sorted_metadata(save(dict(tensors), metadata | {DIGEST: _digest(tensors, metadata)}))


def _with_sorted_metadata(content: bytes) -> bytes:
    """Sort the metadata in the header, which the library writes in a different order each time."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors stay aligned
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a file that `encode_tensors` made.

    Raises: CheckpointError if it is torn or altered; FileNotFoundError if there is none.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is torn: {error}. Restore it from a copy, or train again.") from error
    recorded = metadata.pop(DIGEST, None)
    if recorded is None:
        raise CheckpointError(
            f"{path} has no SHA-256 in its header, so tutelage didn't write it: expected a file of a run folder."
        )
    if recorded != _digest(tensors, metadata):
        raise CheckpointError(
            f"{path} was altered since it was written: its SHA-256 differs from its header's. Restore it from a copy, "
            "or train again."
        )
    return tensors, metadata


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        x = tensors[name]
        digest.update(f"\n{name} {x.dtype} {tuple(x.shape)} ".encode())
        digest.update(x.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
