"""A teacher's token logits for sequences of different lengths: each token's most likely next tokens, packed.

tokens-00000.safetensors, …: `ids` (N, K) in the fewest bytes and `values` (N, K), their log-probabilities in float16,
of the N tokens of all its samples, one sample after the other; `offsets` (samples + 1,) int64: where each one begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tutelage.errors import CacheError
from tutelage.utils.files import write_atomically

PackedTensors = dict[str, Tensor]


def topk_log_probabilities(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the ids and log-probabilities (T, K) of each token's k most likely next tokens: logits (T, V)."""
    top_k = logits.log_softmax(-1).topk(min(k, logits.shape[-1]), dim=-1)
    return top_k.indices, top_k.values


def pack_samples(samples: Sequence[tuple[Tensor, Tensor]], vocabulary: int) -> PackedTensors:
    """Pack each sample's ids and log-probabilities (T, K), of any T ≥ 0, into the parts of a shard.

    Raises: CacheError if shapes or ids don't fit, or a value is no log-probability: NaN, above 0, or beyond float16.
    """
    widths = {x.shape[1:] for sample in samples for x in sample}
    if len(widths) != 1 or len(next(iter(widths))) != 1 or any(len(ids) != len(values) for ids, values in samples):
        raise CacheError("expected ids and values (T, K) for each sample, with one K: use the same k for all samples.")
    ids, values = (torch.cat([sample[part] for sample in samples]) for part in (0, 1))
    if ids.numel() and not 0 <= ids.min() <= ids.max() < vocabulary:
        raise CacheError(f"ids from {ids.min()} to {ids.max()}: expected 0 to {vocabulary - 1}, as the vocabulary has.")
    stored = values.half()
    if not (values <= 1e-3).all() or (stored.isinf() & values.isfinite()).any():
        raise CacheError("values: expected log-probabilities, from −65504 to 0, or −inf; take log_softmax first.")
    id_dtype = torch.uint8 if vocabulary <= 2**8 else torch.uint16 if vocabulary <= 2**16 else torch.int32
    lengths = torch.tensor([0, *(len(ids) for ids, _ in samples)])
    return {"ids": ids.to(id_dtype), "values": stored, "offsets": lengths.cumsum(0)}


def write_shard(folder: Path, number: int, parts: PackedTensors) -> Path:
    """Write a shard atomically and return its path.

    Raises: TutelageError if the disk is full or the folder can't be written.
    """
    from safetensors.torch import save

    path = folder / f"tokens-{number:05d}.safetensors"
    content = save({name: part.contiguous() for name, part in parts.items()})
    write_atomically(path, lambda file: file.write(content))
    return path


class TokenLogits:
    """The samples of several shards, numbered consecutively, memory-mapped.

    Raises: CacheError naming a shard that can't be read or whose parts don't fit together.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.shards = [_open_shard(path) for path in paths]
        counts = torch.tensor([0, *(len(shard["offsets"]) - 1 for shard in self.shards)])
        self.first = counts.cumsum(0)

    def __len__(self) -> int:
        return int(self.first[-1])

    def read_sample(self, number: int) -> tuple[Tensor, Tensor]:
        """Return the ids (T, K) int64 and log-probabilities (T, K) float32 of one sample."""
        if not 0 <= number < len(self):
            raise CacheError(f"sample {number}: the shards hold samples 0 to {len(self) - 1}.")
        shard_number = int(torch.searchsorted(self.first, number, right=True)) - 1
        shard, row = self.shards[shard_number], number - int(self.first[shard_number])
        begin, end = shard["offsets"][row : row + 2].tolist()
        return shard["ids"][begin:end].long(), shard["values"][begin:end].float()

    def read_samples(self, numbers: Iterable[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return ids (B, T, K), log-probabilities (B, T, K) and mask (B, T) of samples, padded to the longest.

        Losses take them as teacher_topk_ids, teacher_topk_values and mask. Padding: id 0, value −inf.
        """
        samples = [self.read_sample(int(number)) for number in numbers]
        ids, values = (
            pad_sequence([sample[k] for sample in samples], True, pad) for k, pad in ((0, 0), (1, -torch.inf))
        )
        return ids, values, pad_sequence([torch.ones(len(ids), dtype=torch.bool) for ids, _ in samples], True)


def _open_shard(path: Path) -> PackedTensors:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            parts = {name: file.get_tensor(name) for name in ("ids", "values", "offsets")}
    except (OSError, SafetensorError) as error:
        raise CacheError(f"{path} can't be read ({error}); write it again.") from error
    offsets, count = parts["offsets"], len(parts["ids"])
    sound = offsets.dim() == 1 and len(offsets) and offsets[0] == 0 and offsets[-1] == count == len(parts["values"])
    if not sound or (offsets.diff() < 0).any() or parts["ids"].shape != parts["values"].shape:
        raise CacheError(f"{path}: its offsets, ids and values don't fit together; write it again.")
    return parts
