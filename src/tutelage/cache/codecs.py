"""Storage formats of cached tensors: unchanged, in fewer bits, or only the largest entries."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tutelage.errors import ConfigError, unknown

EncodedTensors = dict[str, Tensor]
"""A stored tensor's parts by name, each (rows, …); "" is the name of a single part."""


class Codec(ABC):
    """Abstract: encodes rows (N, …) of float32 as parts, and decodes them."""

    @abstractmethod
    def encode(self, rows: Tensor) -> EncodedTensors:
        """Return the parts to store."""

    @abstractmethod
    def decode(self, parts: EncodedTensors) -> Tensor:
        """Return the rows in float32."""


@dataclass(frozen=True)
class Cast(Codec):
    """Rows in one dtype."""

    dtype: torch.dtype

    def encode(self, rows: Tensor) -> EncodedTensors:
        """Cast to the dtype: one part."""
        return {"": rows.to(self.dtype)}

    def decode(self, parts: EncodedTensors) -> Tensor:
        """Cast back."""
        return parts[""].float()


@dataclass(frozen=True)
class Int8(Codec):
    """Each row in 256 even steps from its smallest to its largest entry: q = round(255·(x − low)/(high − low))."""

    def encode(self, rows: Tensor) -> EncodedTensors:
        """Return the steps, and each row's smallest entry and step size."""
        flat = rows.flatten(1)
        low, high = flat.aminmax(dim=1)
        step = ((high - low) / 255).clamp_min(torch.finfo(torch.float32).tiny)
        steps = ((flat - low[:, None]) / step[:, None]).round().clamp(0, 255).to(torch.uint8)
        return {"steps": steps.view_as(rows), "low": low, "step": step}

    def decode(self, parts: EncodedTensors) -> Tensor:
        """Return low + q·step."""
        steps = parts["steps"]
        per_row = (len(steps), *[1] * (steps.dim() - 1))
        return steps.float() * parts["step"].view(per_row) + parts["low"].view(per_row)


@dataclass(frozen=True)
class TopKCodec(Codec):
    """The k largest logits along dim 1 in float16, and log Σ exp of the others, over which it is spread evenly.

    The probabilities of the k, and the total probability of the others, are therefore preserved at temperature 1.
    """

    k: int
    size: int

    PARTS: ClassVar[tuple[str, ...]] = ("values", "indices", "rest")

    def encode(self, rows: Tensor) -> EncodedTensors:
        """Return the values, their indices in the fewest bytes, and the log-sum of the others."""
        values, indices = rows.topk(self.k, dim=1)
        rest = rows.scatter(1, indices, -torch.inf).logsumexp(1, keepdim=True)
        index_dtype = torch.uint8 if self.size <= 256 else torch.int16 if self.size <= 2**15 else torch.int32
        return {"values": values.half(), "indices": indices.to(index_dtype), "rest": rest.half()}

    def decode(self, parts: EncodedTensors) -> Tensor:
        """Return the logits of all classes."""
        values = parts["values"].float()
        log_count = torch.tensor(self.size - self.k).log()
        uniform = (parts["rest"].float() - log_count).expand(-1, self.size, *values.shape[2:])
        return uniform.scatter(1, parts["indices"].long(), values)


CASTS = {"exact": torch.float32, "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
STORAGE_NAMES = (*CASTS, "int8", "topK (K a number)")


def get_codec(name: str, classes: int | None = None) -> Codec:
    """Return the codec of that name: exact (fp32), fp16, bf16, int8 (per row), or top5, top20, … of `classes` logits.

    Raises: ConfigError for an unknown name, or if there are not more than k classes.
    """
    if name in CASTS:
        return Cast(CASTS[name])
    if name == "int8":
        return Int8()
    top = re.fullmatch(r"top([1-9]\d*)", name)
    if top is None:
        raise ConfigError(unknown("cache storage", name, STORAGE_NAMES))
    k = int(top[1])
    if classes is None or k >= classes:
        raise ConfigError(f"cache_storage={name} of {classes} logits: expected k below the number of logits; use fp16.")
    return TopKCodec(k, classes)


def feature_storage(name: str) -> str:
    """Return the storage of features for a response's storage: top-k doesn't apply to features, which use fp16."""
    return "fp16" if name.startswith("top") else name
