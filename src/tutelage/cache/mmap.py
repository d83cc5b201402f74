"""Memory-mapped safetensors files."""

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


def map_tensors(path: Path) -> dict[str, Tensor]:
    """Memory-map the tensors of a safetensors file for reads in random order.

    safetensors' own map reads ahead; in random order, with a file larger than memory, that evicts more than it loads.
    """
    with open(path, "rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    if hasattr(memory, "madvise"):
        memory.madvise(mmap.MADV_RANDOM)
    begin = 8 + int.from_bytes(memory[:8], "little")
    header = json.loads(memory[8:begin])
    tensors = {}
    for name, about in header.items():
        if name != "__metadata__":
            dtype, (first, last) = DTYPES[about["dtype"]], about["data_offsets"]
            flat = torch.frombuffer(memory, dtype=dtype, offset=begin + first, count=(last - first) // dtype.itemsize)
            tensors[name] = flat.view(about["shape"])
    return tensors
