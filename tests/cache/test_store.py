"""Shards: several of them read as one tensor, figures that are true, files that others can read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.cache import store as stores
from tutelage.cache.codecs import get_codec
from tutelage.cache.manifest import CachedTensor, read_manifest
from tutelage.cache.store import CacheStore, find_broken_shards, plan_storage, prune
from tutelage.errors import CacheError, NotFinite

ABOUT = {"teacher": {"weights": "abc"}, "views": 2}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(stores, "SHARD_ROWS", 8)


def filled(folder: Path, tap: str, rows: Tensor, name: str = "exact", nhwc: bool = False, views: int = 1) -> CacheStore:
    """A cache of these rows, the same in each view."""
    store = CacheStore(folder, ABOUT, len(rows), 2)
    store.register_tensors({tap: plan_storage(rows.shape[1:], name, nhwc, store.manifest.unit)})
    size = store.manifest.tensors[tap].rows
    for view in range(views):
        shards = [store.write_shard(view, tap, number, lot) for number, lot in enumerate(rows.split(size))]
        store.register_shards(dict(shards))
    return store


@pytest.mark.parametrize("name", ["exact", "fp16", "int8", "top3"])
@pytest.mark.parametrize("shape", [(10,), (10, 4, 4)])
@pytest.mark.parametrize("nhwc", [False, True])
def test_rows_of_any_order_are_those_of_plain_indexing(tmp_path, name, shape, nhwc):
    rows = torch.randn(29, *shape)
    held = get_codec(name, 10)
    expected = held.decode(held.encode(rows))
    store = filled(tmp_path, "response", rows, name, nhwc and len(shape) == 3)
    there = store.read_view(0, "response")
    assert len(there.parts) == 4
    for index in (torch.arange(29), torch.randperm(29), torch.tensor([28, 0, 0, 7, 8, 28]), torch.tensor([5])):
        assert torch.allclose(there[index], expected[index], atol=1e-6)


def test_maps_of_channels_last_networks_come_back_as_they_were(tmp_path):
    rows = torch.randn(20, 6, 4, 4).contiguous(memory_format=torch.channels_last)
    there = filled(tmp_path, "layer1", rows, nhwc=True).read_view(0, "layer1")
    index = torch.randperm(20)
    assert torch.equal(there[index], rows[index])
    assert there[index].is_contiguous(memory_format=torch.channels_last)
    there = filled(tmp_path, "layer2", rows, nhwc=False).read_view(0, "layer2")
    assert there[index].is_contiguous()


def test_large_rows_make_shards_of_fewer(monkeypatch):
    monkeypatch.setattr(stores, "SHARD_BYTES", 1000)
    assert plan_storage((10,), "exact", False, 8192) == CachedTensor(shape=(10,), storage="exact", nhwc=False, rows=16)
    assert plan_storage((10,), "fp16", False, 8192).rows == 32
    assert plan_storage((10,), "int8", False, 8192).rows == 32  # 18 bytes
    assert plan_storage((1000,), "exact", False, 8192).rows == 1
    assert plan_storage((1,), "exact", False, 8).rows == 8


def test_taps_are_added_later_and_those_there_stay(tmp_path):
    responses, features = torch.randn(20, 10), torch.randn(20, 3, 2, 2)
    before = (filled(tmp_path, "response", responses).folder / "view0-response-00001.safetensors").stat().st_mtime_ns
    store = filled(tmp_path, "layer1", features)
    assert torch.equal(store.read_view(0, "response")[torch.arange(20)], responses)
    assert torch.equal(store.read_view(0, "layer1")[torch.arange(20)], features)
    assert (tmp_path / "view0-response-00001.safetensors").stat().st_mtime_ns == before
    with pytest.raises(
        CacheError, match=r"'layer1' as exact of \(3, 2, 2\), but the run requires fp16.*name another folder"
    ):
        store.register_tensors({"layer1": plan_storage((3, 2, 2), "fp16", False, 8)})


@pytest.mark.parametrize("name", ["exact", "fp16", "bf16", "int8", "top3"])
def test_the_manifests_figures_are_those_measured(tmp_path, name):
    rows = 3 * torch.randn(21, 10)
    store = filled(tmp_path, "response", rows, name, views=2)
    back = store.read_view(1, "response")[torch.arange(21)]
    said = read_manifest(tmp_path).error["response"]
    off = (back - rows).double()
    assert said["relative_l2"] == pytest.approx((off.norm() / rows.double().norm()).item(), rel=1e-6)
    kl = F.kl_div(F.log_softmax(back.double(), 1), F.softmax(rows.double(), 1), reduction="batchmean")
    assert said["kl"] == pytest.approx(kl.item(), abs=1e-12, rel=1e-6)
    assert (said["kl"] == 0) == (said["relative_l2"] == 0) == (name == "exact")


def test_figures_of_dense_responses_are_means_over_positions(tmp_path):
    rows = torch.randn(11, 5, 3, 2)
    filled(tmp_path, "response", rows, "int8", nhwc=True)
    back = CacheStore(tmp_path, ABOUT, 11, 2).read_view(0, "response")[torch.arange(11)]
    kl = F.kl_div(F.log_softmax(back.double(), 1), F.softmax(rows.double(), 1), reduction="none").sum(1).mean()
    assert read_manifest(tmp_path).error["response"]["kl"] == pytest.approx(kl.item())


def test_the_files_are_read_by_safetensors_alone(tmp_path):
    rows = torch.randn(20, 10)
    filled(tmp_path, "response", rows)

    from safetensors.torch import load_file

    manifest = json.loads((tmp_path / "manifest.json").read_text())
    size = manifest["tensors"]["response"]["rows"]
    shards = [load_file(tmp_path / name) for name in manifest["shards"] if name.startswith("view0-response-")]
    said = torch.cat([shard["response"] for shard in shards])

    assert size == 8
    assert torch.equal(said, rows)


@pytest.mark.parametrize(
    ("name", "too_large"), [("fp16", 70_000.0), ("fp16", -65_520.0), ("top3", 1e5), ("top3", -1e5), ("int8", 3e38)]
)
def test_numbers_beyond_a_storages_range_are_refused(tmp_path, name, too_large):
    rows = torch.randn(8, 10)
    rows[3] = too_large
    rows[3, ::2] *= -1 if name == "int8" else 1
    with pytest.raises(CacheError, match=f"too large to be stored as {name}; use cache_storage=bf16 or exact"):
        filled(tmp_path, "response", rows, name)
    assert not list(tmp_path.glob("*.safetensors"))
    filled(tmp_path / "bf16", "response", rows, "bf16")
    assert (filled(tmp_path / "exact", "response", rows).read_view(0, "response")[torch.arange(8)] == rows).all()


@pytest.mark.parametrize("name", ["exact", "fp16", "bf16", "int8", "top3"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_answers_that_are_no_numbers_are_refused(tmp_path, name, value):
    rows = torch.randn(20, 10)
    rows[13, 4] = value
    with pytest.raises(NotFinite, match=r"NaN or infinite numbers \(response\) for training sample 13 in view 0"):
        filled(tmp_path, "response", rows, name)


def test_layers_of_like_names_have_files_of_their_own(tmp_path):
    rows = torch.randn(4, 8, 3)
    for k, tap in enumerate(("a:b", "a/b", "a=b", "a_b")):
        filled(tmp_path, tap, rows[k])
    store = CacheStore(tmp_path, ABOUT, 8, 2)
    for k, tap in enumerate(("a:b", "a/b", "a=b", "a_b")):
        assert torch.equal(store.read_view(0, tap)[torch.arange(8)], rows[k])
    assert find_broken_shards(tmp_path) == {}


def test_pruning_removes_what_is_broken_or_unknown_and_nothing_else(tmp_path):
    rows = torch.randn(20, 10)
    filled(tmp_path, "response", rows)
    (tmp_path / "view0-response-00001.safetensors").write_bytes(b"torn")
    (tmp_path / "view0-response-00002.safetensors").unlink()
    (tmp_path / "stray.txt").write_text("x")
    (tmp_path / "mine").mkdir()
    assert set(find_broken_shards(tmp_path)) == {"view0-response-00001.safetensors", "view0-response-00002.safetensors"}
    assert prune(tmp_path) == ["stray.txt", "view0-response-00001.safetensors", "view0-response-00002.safetensors"]
    assert {path.name for path in tmp_path.iterdir()} == {"manifest.json", "view0-response-00000.safetensors", "mine"}
    assert find_broken_shards(tmp_path) == {}
    there = filled(tmp_path, "response", rows).read_view(0, "response")
    assert torch.equal(there[torch.arange(20)], rows)
