"""What each storage keeps, against slow readings of what it says."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.cache.codecs import feature_storage, get_codec
from tutelage.errors import ConfigError

SHAPES = {"logits": (6, 10), "one sample": (1, 10), "dense": (3, 10, 4, 5), "features": (4, 8, 3, 3)}


def rows_of(shape: str, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(SHAPES[shape])


def there_and_back(name: str, rows: Tensor) -> Tensor:
    held = get_codec(name, rows.shape[1])
    parts = held.encode(rows)
    assert {len(part) for part in parts.values()} == {len(rows)}
    assert all(part.is_contiguous() for part in parts.values())
    back = held.decode(parts)
    assert back.shape == rows.shape
    assert back.dtype == torch.float32
    return back


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("name", "dtype", "bits"),
    [
        ("exact", torch.float32, 24),
        ("fp32", torch.float32, 24),
        ("fp16", torch.float16, 11),
        ("bf16", torch.bfloat16, 8),
    ],
)
def test_a_cast_is_the_nearest_number_of_its_kind(shape, name, dtype, bits):
    rows = rows_of(shape)
    back = there_and_back(name, rows)
    assert torch.equal(back, rows.to(dtype).float())
    assert ((back - rows).abs() <= rows.abs() * 2**-bits + 2**-25).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_int8_is_the_nearest_of_256_steps_of_each_row(shape):
    rows = rows_of(shape)
    back = there_and_back("int8", rows)
    for row, stored in zip(rows, back, strict=True):
        low, high = row.min().item(), row.max().item()
        steps = torch.tensor([low + (high - low) * q / 255 for q in range(256)])
        for x, y in zip(row.flatten().tolist(), stored.flatten().tolist(), strict=True):
            assert abs(x - y) <= (high - low) / 510 * 1.001
            assert (steps - y).abs().min() < 1e-5
    assert torch.allclose(back.flatten(1).amin(1), rows.flatten(1).amin(1))
    assert torch.allclose(back.flatten(1).amax(1), rows.flatten(1).amax(1))


@pytest.mark.parametrize("shape", ["logits", "one sample", "dense"])
@pytest.mark.parametrize("k", [1, 3, 9])
def test_the_top_keep_their_probability_and_the_others_theirs_together(shape, k):
    rows = rows_of(shape)
    back = there_and_back(f"top{k}", rows)
    positions = rows.movedim(1, -1).reshape(-1, 10), back.movedim(1, -1).reshape(-1, 10)
    for row, stored in zip(*positions, strict=True):
        p, q = ([math.exp(x - z.logsumexp(0).item()) for x in z.tolist()] for z in (row, stored))
        order = sorted(range(10), key=lambda c: -p[c])
        for c in order[:k]:
            assert q[c] == pytest.approx(p[c], rel=0.02)
        rest = [q[c] for c in order[k:]]
        assert sum(rest) == pytest.approx(sum(p[c] for c in order[k:]), rel=0.02)
        assert max(rest) == pytest.approx(min(rest), rel=1e-5)


@pytest.mark.parametrize(("classes", "dtype"), [(256, torch.uint8), (257, torch.int16), (40_000, torch.int32)])
def test_the_top_indices_take_the_fewest_bytes(classes, dtype):
    rows = torch.randn(2, classes)
    held = get_codec("top5", classes)
    parts = held.encode(rows)
    assert parts["indices"].dtype == dtype
    back = held.decode(parts)
    assert torch.equal(back.topk(5).indices.sort().values, rows.topk(5).indices.sort().values)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("value", [0.0, -7.5, 1e4])
def test_constant_rows_stay_constant(shape, value):
    rows = torch.full(SHAPES[shape], value)
    for name in ("exact", "fp16", "bf16", "int8"):
        assert torch.allclose(there_and_back(name, rows), rows, rtol=2**-8)
    p = F.softmax(there_and_back("top3", rows), 1)
    assert torch.allclose(p, torch.full_like(p, 1 / rows.shape[1]), rtol=0.01 if value < 1e3 else 10)


@pytest.mark.parametrize("shape", SHAPES)
def test_huge_logits_stay_in_the_storages_own_precision(shape):
    rows = rows_of(shape, 1e4).clamp(-3e4, 3e4)
    for name, relative in (("exact", 0), ("fp16", 2**-11), ("bf16", 2**-8), ("int8", 6e4 / 510 / 1e4)):
        error = (there_and_back(name, rows) - rows).abs().max()
        assert error <= relative * max(rows.abs().max().item(), 1e4) * 1.001
    assert torch.equal(there_and_back("top3", rows).argmax(1), rows.argmax(1))


@pytest.mark.parametrize("name", ["fp8", "top0", "top-1", "top", "int4", "", "top1.5"])
def test_other_names_are_refused_with_those_there_are(name):
    with pytest.raises(ConfigError, match=r"unknown cache storage.*topK"):
        get_codec(name, 10)


@pytest.mark.parametrize(("k", "classes"), [(10, 10), (11, 10), (5, None)])
def test_a_top_of_all_is_refused(k, classes):
    with pytest.raises(ConfigError, match=f"top{k} of {classes} logits.*use fp16"):
        get_codec(f"top{k}", classes)


def test_features_have_no_top():
    assert [feature_storage(name) for name in ("exact", "int8", "top20")] == ["exact", "int8", "fp16"]
