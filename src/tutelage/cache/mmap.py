"""A safetensors file in memory, page by page."""

from __future__ import annotations

import json
import mmap
from pathlib import Path

import torch
from torch import Tensor

DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U8": torch.uint8,
    "I16": torch.int16,
    "I32": torch.int32,
}


def mapped(path: Path) -> dict[str, Tensor]:
    """The tensors of a whole safetensors file, memory-mapped for reads in random order.

    safetensors' own map reads ahead, which under random order throws out more than it brings where the file is larger
    than memory.
    """
    with open(path, "rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    if hasattr(memory, "madvise"):
        memory.madvise(mmap.MADV_RANDOM)
    begin = 8 + int.from_bytes(memory[:8], "little")
    header = json.loads(memory[8:begin])
    found = {}
    for name, about in header.items():
        if name != "__metadata__":
            dtype, (first, last) = DTYPES[about["dtype"]], about["data_offsets"]
            flat = torch.frombuffer(memory, dtype=dtype, offset=begin + first, count=(last - first) // dtype.itemsize)
            found[name] = flat.view(about["shape"])
    return found
