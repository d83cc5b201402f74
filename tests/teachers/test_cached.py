"""Cached outputs teach like the teacher itself."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from small import digest, fit, net, scenes, task_of

import tutelage
from tutelage import data as datasets
from tutelage.cache import store as stores
from tutelage.errors import CacheError, ConfigError, NotFinite
from tutelage.losses.feature.at import AT
from tutelage.losses.relation.pkt import PKT
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.teachers.cached import Cached, CachePlan
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.moving_average import MovingAverage


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(stores, "SHARD_ROWS", 32)


def shifted(limit: int = 64):
    return datasets.load("digits", limit=limit, augment="shift")


def teacher_of(kind: str, data):
    task = task_of(data)
    if kind == "ensemble":
        return Ensemble([Frozen(net("cnn4", k, data), task) for k in (1, 2)])
    return Frozen(net("seg8" if data.task == "segmentation" else "cnn4", 1, data), task)


def plan_of(folder: Path, **changes) -> CachePlan:
    return replace(CachePlan(folder, storage="exact", views=3, batch_size=16), **changes)


def scheme(data, method, teacher) -> Offline:
    student = net("seg4" if data.task == "segmentation" else "cnn2", 2, data)
    return Offline(Player(student, Terms.from_method(method, task_of(data).task_loss()), task_of(data)), teacher)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["frozen", "ensemble"])
@pytest.mark.parametrize("layout", [None, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("pooled", [False, True], ids=["maps", "vectors"])
def test_cached_outputs_are_bitwise_the_teachers(tmp_path, kind, layout, pooled):
    data = shifted()
    live = teacher_of(kind, data)
    layers = ["0.layer1", "1.layer2"] if kind == "ensemble" else ["layer1", "layer2"]
    if layout:
        live.to(memory_format=layout)
    cached = Cached(live, data, plan_of(tmp_path, memory_format=layout))
    cached.prepare_for(layers, layers[1:] if pooled else ())
    for epoch in (0, 4):
        batches = data.batches("train", 16, seed=5, epoch=epoch, views=3, view_seed=0, memory_format=layout)
        for batch in batches:
            actual, live_outputs = cached(batch, layers), live(batch, layers)
            assert torch.equal(actual.response, live_outputs.response)
            assert torch.equal(actual[layers[0]], live_outputs[layers[0]])
            assert actual[layers[0]].stride() == live_outputs[layers[0]].stride()
            expected = live_outputs[layers[1]].mean((2, 3)) if pooled else live_outputs[layers[1]]
            assert torch.equal(actual[layers[1]], expected)
    assert {tensor.shape for tensor in cached.store.manifest.tensors.values()} >= {(10,)}
    assert {name.split("-")[0] for name in cached.store.manifest.shards} == {"view0", "view1"}


@pytest.mark.parametrize(
    ("kind", "method"),
    [("digits", KD()), ("digits", KD() + AT()), ("digits", KD() + PKT()), ("scenes", KD() + AT())],
    ids=["kd", "maps", "vectors", "dense"],
)
@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
def test_a_student_of_the_cache_equals_one_of_the_teacher(tmp_path, kind, method, channels_last):
    data = shifted() if kind == "digits" else replace(scenes(), augment="shift")
    changes = {"epochs": 4, "views": 3, "batch_size": 8, "channels_last": channels_last}
    live = fit(scheme(data, method, teacher_of("frozen", data)), data, **changes)
    layout = torch.channels_last if channels_last else None
    for again in (False, True):
        cached = Cached(teacher_of("frozen", data), data, plan_of(tmp_path, memory_format=layout, batch_size=8))
        if again:
            cached.teacher.forward = never_run
        assert digest(fit(scheme(data, method, cached), data, **changes)) == digest(live)


def never_run(*_):
    raise AssertionError("everything is on disk, but the teacher is run")


def test_batches_without_a_counted_view_go_to_the_teacher(tmp_path):
    data = shifted()
    live = teacher_of("frozen", data)
    cached = Cached(live, data, plan_of(tmp_path))
    cached.prepare_for(["layer1"])
    for batch in (next(data.batches("val", 8, views=3)), next(data.batches("train", 8, views=None))):
        assert batch.view is None
        assert torch.equal(cached(batch, ["layer1"]).response, live(batch).response)
        assert torch.equal(cached(batch, ["layer1"])["layer1"], live(batch, ["layer1"])["layer1"])
    val_batch = next(data.batches("val", 8, train=True, views=3))
    assert val_batch.view is None
    assert set(val_batch.index.tolist()) <= set(range(len(data.val)))
    assert torch.equal(cached(val_batch).response, live(val_batch).response)
    assert not list(tmp_path.glob("*.safetensors"))


def test_teachers_that_change_are_refused(tmp_path):
    data = shifted()
    average = MovingAverage(net("cnn2", 1), task_of(data))
    for teacher in (average, Ensemble([Frozen(net("cnn4", 1), task_of(data)), average])):
        with pytest.raises(ConfigError, match="changes in training, so its outputs can't be cached; use cache="):
            Cached(teacher, data, plan_of(tmp_path / "none"))
    with pytest.raises(ConfigError, match="cache=true needs a frozen teacher"):
        tutelage.distill("cnn2", "moving_average", cache=True, out=str(tmp_path / "run"))
    assert not list(tmp_path.iterdir())


def test_a_view_that_the_cache_doesnt_have_and_a_layer_called_response_are_refused(tmp_path):
    data = shifted()
    cached = Cached(teacher_of("frozen", data), data, plan_of(tmp_path))
    with pytest.raises(CacheError, match=r"a batch has view 5, but the cache .* has 3 views"):
        cached(next(data.batches("train", 8, epoch=5, views=6)))
    with pytest.raises(ConfigError, match="a layer named 'response'"):
        cached.prepare_for(["response"])


def test_one_sample_and_a_last_lot_of_one(tmp_path):
    data = shifted()
    for count in (1, 33):
        subset = replace(data, train=data.train.take(torch.arange(count)))
        live = teacher_of("frozen", subset)
        cached = Cached(live, subset, plan_of(tmp_path / str(count), batch_size=8))
        whole = next(subset.view_batches([torch.arange(count)], 2, 0))
        assert torch.allclose(cached(whole).response, live(whole).response, atol=1e-6)
        assert len(list((tmp_path / str(count)).glob("view2-response-*.safetensors"))) == -(-count // 32)


def test_answers_that_are_no_numbers_or_too_large_are_refused_and_nothing_is_left(tmp_path):
    data = shifted()
    for value, error, message in (
        (torch.nan, NotFinite, "outputs NaN or infinite numbers"),
        (1e5, CacheError, "too large to be stored as fp16; use cache_storage=bf16 or exact"),
    ):
        live = teacher_of("frozen", data)
        live.checked = True
        with torch.no_grad():
            live.feature_extractor.model.fc.bias[0] = value
        cached = Cached(live, data, plan_of(tmp_path / error.__name__, storage="fp16"))
        with pytest.raises(error, match=message):
            cached(next(data.batches("train", 8, views=3)))
        assert not list((tmp_path / error.__name__).glob("*.safetensors"))


def test_a_layer_that_is_asked_for_later_joins_the_cache(tmp_path):
    data = shifted()
    live = teacher_of("frozen", data)
    batch = next(data.batches("train", 16, views=3))
    Cached(live, data, plan_of(tmp_path))(batch)
    before = files(tmp_path)
    cached = Cached(live, data, plan_of(tmp_path))
    cached.prepare_for(["layer1", "layer2"], ["layer2"])
    outputs = cached(batch)
    assert torch.equal(outputs["layer1"], live(batch, ["layer1"])["layer1"])
    after = files(tmp_path)
    assert {name: after[name] for name in before if name != "manifest.json"} == {
        name: content for name, content in before.items() if name != "manifest.json"
    }
    whole = Cached(live, data, plan_of(tmp_path / "at once"))
    whole.prepare_for(["layer1", "layer2"], ["layer2"])
    whole(batch)
    after = files(tmp_path / "at once")
    shutil.rmtree(tmp_path / "at once")
    assert after == files(tmp_path)


# whole runs

KEYS = {
    "teacher": "cnn4", "student": "cnn2", "method": "kd+fitnet", "teacher_epochs": 1, "epochs": 4, "limit": 100,
    "batch_size": 16, "log_every": 1, "device": "cpu", "augment": "shift", "views": 3, "baseline": False,
}  # fmt: skip
CACHE = {"cache": True, "cache_storage": "exact"}


@pytest.fixture(scope="module")
def live_run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "live"
    tutelage.distill(out=str(out), **KEYS)
    return out


def student(out: Path) -> bytes:
    return (out / "student-0" / "model.safetensors").read_bytes()


def test_a_cached_run_leaves_the_bytes_of_the_run_without(tmp_path, monkeypatch, live_run):
    monkeypatch.chdir(tmp_path)
    tutelage.distill(out="run", **KEYS, **CACHE)
    assert student(tmp_path / "run") == student(live_run)
    [cache] = (tmp_path / "caches").glob("digits-*")
    assert {name.split("-")[0] for name in files(cache) if name.endswith("safetensors")} == {"view0", "view1", "view2"}
    before = files(cache)
    tutelage.distill(out="again", **KEYS, **CACHE)
    assert student(tmp_path / "again") == student(live_run)
    assert files(cache) == before


def work(out: Path) -> None:
    if (out / "environment.json").exists():
        tutelage.resume(out)
    else:
        tutelage.distill(out=str(out), checkpoint_every=0, **KEYS, **CACHE)


def test_a_cached_run_killed_again_and_again_leaves_the_same_bytes(tmp_path, monkeypatch, live_run):
    monkeypatch.chdir(tmp_path)
    chance, out, ends = random.Random(3), tmp_path / "run", []
    for attempt in range(5):
        process = get_context("fork").Process(target=work, args=[out])
        process.start()
        known, until = set(tmp_path.glob("caches/*/*.safetensors")), time.monotonic() + 60
        while (
            attempt < 4
            and process.is_alive()
            and set(tmp_path.glob("caches/*/*.safetensors")) <= known
            and time.monotonic() < until
        ):
            time.sleep(0.002)
        if attempt < 4:
            time.sleep(chance.random() * 0.1)
            process.kill()
        process.join(100)
        ends.append(process.exitcode)
        if ends[-1] == 0:
            break
    assert ends[-1] == 0
    assert len(ends) > 2
    assert student(out) == student(live_run)


def test_a_cache_built_ahead_is_the_one_that_the_run_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys = KEYS | CACHE | {"teacher_epochs": 0}
    built = list(tutelage.build_cache(**keys))
    [folder] = (tmp_path / "caches").iterdir()
    assert built == [(Path("caches", folder.name), view) for view in range(3)]
    before = files(folder)
    tutelage.distill(out="run", **keys)
    assert files(folder) == before
    assert list(tutelage.build_cache(**keys)) == built
    assert files(folder) == before
    with pytest.raises(ConfigError, match="isn't trained yet"):
        next(tutelage.build_cache(**KEYS))


def test_a_cache_by_name_is_refused_for_another_run_and_one_without_a_name_is_anothers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys = KEYS | {"teacher_epochs": 0, "cache": "mine"}
    list(tutelage.build_cache(**keys))
    for change, message in (
        ({"view_seed": 3}, r"view_seed \(0, here 3\)"),
        ({"views": 2}, r"views \(3, here 2\)"),
        ({"augment": "none"}, r"transform augment \(shift, here none\)"),
        ({"cache_storage": "int8"}, r"storage \(fp16, here int8\)"),
        ({"limit": 99}, "data "),
        ({"teacher": "cnn8"}, "teacher network "),
    ):
        with pytest.raises(CacheError, match=f"the cache mine is of another .*{message}"):
            list(tutelage.build_cache(**keys | change))
        assert not (tmp_path / "caches").exists()
    for change in ({}, {"view_seed": 3}):
        list(tutelage.build_cache(**keys | change | {"cache": True}))
    assert len(list((tmp_path / "caches").iterdir())) == 2
