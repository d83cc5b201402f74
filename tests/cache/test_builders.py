"""Building that fails, is killed, or is done by several at once ends in the same files."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from small import Plain, fit, net, settings, task_of

from tutelage import data as datasets
from tutelage.cache import store as stores
from tutelage.cache.store import CacheStore
from tutelage.errors import CacheError
from tutelage.losses.feature.at import AT
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.teachers.cached import Cached, CachePlan
from tutelage.teachers.frozen import Frozen
from tutelage.training.fabric import make_fabric
from tutelage.utils.files import write_atomically

VIEWS = 2


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(stores, "SHARD_ROWS", 16)


def cached(folder: Path, model=None) -> Cached:
    data = datasets.load("digits", limit=100, augment="shift")
    plan = CachePlan(folder, storage="exact", views=VIEWS, batch_size=8)
    made = Cached(Frozen(model or net("cnn4", 1), task_of(data)), data, plan)
    made.prepare_for(["layer1"])
    return made


def build(folder: Path, log: Path | None = None) -> None:
    """Build all views; note in `log` each shard that is written."""
    torch.set_num_threads(1)
    teacher, write = cached(folder), CacheStore.write_shard
    if log is not None:

        def noted(store, view, tap, number, rows):
            with open(log, "a") as file:
                file.write(f"{view} {tap} {number}\n")
            time.sleep(0.01)
            return write(store, view, tap, number, rows)

        teacher.store.write_shard = noted.__get__(teacher.store)
    for view in range(VIEWS):
        teacher.build(view)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("caches") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "SHARD_ROWS", 16)
        build(folder)
    found = files(folder)
    assert sum(name.endswith(".safetensors") for name in found) == 2 * 2 * 7
    return found


@pytest.mark.parametrize("after", [0, 1, 2, 3, 10, 27])
@pytest.mark.parametrize("half", [False, True], ids=["nothing", "half a file"])
def test_a_full_disk_is_told_and_the_next_build_goes_on(tmp_path, monkeypatch, whole, after, half):
    written = Counter()

    def full(path, write):
        written[path.suffix] += path.suffix == ".safetensors"
        if written[".safetensors"] > after:
            return write_atomically(path, lambda file: fail(file, write))
        return write_atomically(path, write)

    def fail(file, write):
        if half:
            file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = tmp_path / "cache"
    monkeypatch.setattr(stores, "write_atomically", full)
    with pytest.raises(
        CacheError, match=r"can't be written \(No space left on device\); free some space.*continues from them"
    ) as e:
        build(folder)
    assert str(folder) in str(e.value)
    left = files(folder)
    known = cached(folder).store.manifest.shards
    assert len(known) == after // 2 * 2
    assert all(left[name] == whole[name] for name in known)
    assert not [name for name in left if "safetensors." in name]
    monkeypatch.setattr(stores, "write_atomically", write_atomically)
    log = tmp_path / "log"
    build(folder, log)
    assert files(folder) == whole
    assert len(log.read_text().splitlines()) == 28 - len(known)


def test_a_full_disk_under_the_manifest(tmp_path, monkeypatch, whole):
    from tutelage.cache import manifest as manifests

    def full(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    build_one = cached(tmp_path)
    build_one.build(0)
    with monkeypatch.context() as patch:
        patch.setattr(manifests, "write_text", full)
        with pytest.raises(CacheError, match="No space left on device"):
            build_one.build(1)
        with pytest.raises(CacheError, match="No space left on device"):
            cached(tmp_path / "new")
    (tmp_path / "new" / ".manifest.lock").unlink()
    (tmp_path / "new").rmdir()
    build(tmp_path)
    assert files(tmp_path) == whole


@pytest.mark.parametrize("count", [2, 3])
def test_builders_at_once_share_the_work(tmp_path, whole, count):
    folder = tmp_path / "cache"
    work = [get_context("fork").Process(target=build, args=[folder, tmp_path / f"log{k}"]) for k in range(count)]
    for process in work:
        process.start()
    for process in work:
        process.join(100)
    assert [process.exitcode for process in work] == [0] * count
    assert files(folder) == whole
    logs = [(tmp_path / f"log{k}").read_text().splitlines() for k in range(count)]
    times = Counter(line for log in logs for line in log)
    assert len(times) == 28
    assert set(times.values()) == {1}
    assert all(logs)


def test_a_builder_killed_at_work_blocks_nobody(tmp_path, whole):
    folder, log = tmp_path / "cache", tmp_path / "log"
    process = get_context("fork").Process(target=build, args=[folder, log])
    process.start()
    until = time.monotonic() + 60
    while (not log.exists() or len(log.read_text().splitlines()) < 5) and time.monotonic() < until:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    (folder / f".view0-response-00003.safetensors.{process.pid}").write_bytes(b"half")
    process.join(10)
    began = time.monotonic()
    build(folder)
    assert time.monotonic() - began < 30
    assert files(folder) == whole


def taught(folder: Path, devices: int, cache: Path | None) -> None:
    """A student of the cache (None: of the teacher itself), trained on so many processes."""
    changes = {"devices": devices, "batch_size": 16, "epochs": 3, "views": VIEWS}
    fabric = make_fabric(settings(**changes), start="fork")

    def work(*_) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        student, model = Plain(), Plain(width=6)
        data = datasets.load("digits", limit=100, augment="shift")
        task = task_of(data)
        teacher = Frozen(model, task)
        if cache is not None:
            teacher = Cached(teacher, data, CachePlan(cache, "exact", VIEWS, batch_size=8))
        scheme = Offline(Player(student, Terms.from_method(KD() + AT(), task.task_loss()), task), teacher)
        student = fit(scheme, data, fabric=fabric, **changes)
        if fabric.is_global_zero:
            torch.save(student.state_dict(), folder / "student.pt")

    folder.mkdir(exist_ok=True)
    fabric.launch(work) if devices > 1 else work()


def test_two_processes_train_and_build_as_one_does(tmp_path):
    for name, devices, cache in (
        ("live", 2, None),
        ("one", 1, tmp_path / "cache 1"),
        ("two", 2, tmp_path / "cache 2"),
        ("two of one's", 2, tmp_path / "cache 1"),
    ):
        taught(tmp_path / name, devices, cache)
    students = {n: torch.load(tmp_path / n / "student.pt") for n in ("live", "one", "two", "two of one's")}
    for name in ("two", "two of one's"):
        assert all(torch.equal(students[name][k], students["live"][k]) for k in students["live"])
    assert all(torch.allclose(students["one"][k], students["two"][k], atol=1e-6) for k in students["one"])
    assert files(tmp_path / "cache 1") == files(tmp_path / "cache 2")
