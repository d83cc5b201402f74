"""Caches built before any run: by processes side by side, and by the actors of a Ray cluster."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from torch import nn

from tutelage import api
from tutelage.cache import store
from tutelage.config.schema import check
from tutelage.errors import ConfigError, DataError
from tutelage.runs import cache_build

KEYS = {
    "teacher": "cnn4", "student": "cnn2", "teacher_epochs": 0, "method": "kd+at", "limit": 60, "views": 2,
    "augment": "shift", "device": "cpu", "batch_size": 16,
}  # fmt: skip


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    """An empty folder, and units of 16 samples."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(store, "SHARD_ROWS", 16)


@pytest.fixture(scope="module")
def ray(tmp_path_factory):
    """A cluster of this machine."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if not path.name.startswith(".")}


def test_ray_finishes_what_was_begun_with_the_same_bytes(ray):
    plain = list(api.build_cache(**KEYS, cache="plain"))
    assert plain == [(Path("plain"), 0), (Path("plain"), 1)]
    begun = cache_build.teachers_of(check(KEYS | {"cache": "begun"}))[0]
    assert begun.missing(0) == [0, 1, 2, 3]
    begun.build_unit(0, 1)
    before = {path.name: path.stat().st_mtime_ns for path in Path("begun").glob("view*")}
    assert len(before) == 4  # the response and three stages
    built = list(api.build_cache(**KEYS, cache="begun", engine="ray"))
    assert sorted(built) == [(Path("begun"), 0), (Path("begun"), 1)]
    assert contents("begun") == contents("plain")
    assert len(contents("begun")) == 2 * 4 * 4 + 1
    assert {name: Path("begun", name).stat().st_mtime_ns for name in before} == before
    assert sum(1 for _ in api.build_cache(**KEYS, cache="begun", engine="ray")) == 2  # nothing is left to do


def test_what_goes_wrong_in_an_actor_is_said(ray):
    """Data that only this process can read."""
    Path("mine.py").write_text(
        "import os, pathlib, torch\nfrom torch.utils.data import TensorDataset\nfrom tutelage.errors import DataError\n"
        "def noise():\n"
        "    if pathlib.Path('owner').read_text() != str(os.getpid()):\n"
        "        raise DataError('no pixels here')\n"
        "    x, y = torch.randint(0, 256, (80, 1, 8, 8), dtype=torch.uint8), torch.arange(80) % 2\n"
        "    train, test = TensorDataset(x[:60], y[:60]), TensorDataset(x[60:], y[60:])\n"
        "    train.classes = ['even', 'odd']\n    return train, test\n"
    )
    Path("owner").write_text(str(os.getpid()))
    keys = KEYS | {"data": "python:mine:noise", "limit": 16, "views": 1}
    with pytest.raises(DataError, match="no pixels here"):
        list(api.build_cache(**keys, cache="torn", engine="ray"))


def test_an_actor_without_the_shared_folder_says_so():
    row = {"view": 0, "unit": 0, "config": json.dumps(KEYS), "folder": "/nowhere/shared"}
    said = cache_build.Builder()(row)
    assert said["kind"] == "CacheError"
    assert "/nowhere/shared doesn't exist on" in said["fault"]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"engine": "rya"}, "unknown engine 'rya': did you mean 'ray'"),
        ({"engine": "ray", "devices": 2}, "devices=2 with engine=ray"),
        ({"engine": "ray", "teacher": nn.Flatten()}, "give names"),
        ({"engine": "ray", "teacher_epochs": 1}, "cnn4 isn't trained yet"),
    ],
)
def test_what_cant_be_is_refused(keys, says):
    with pytest.raises(ConfigError, match=says):
        list(api.build_cache(**KEYS | keys))
    assert not any(Path(name).exists() for name in ("caches", "runs"))


def test_processes_share_the_work():
    """While another process is at the first unit, this one builds the others, then waits for it."""
    list(api.build_cache(**KEYS | {"views": 1}, cache="whole"))
    teacher = cache_build.teachers_of(check(KEYS | {"views": 1, "cache": "shared"}))[0]
    teacher.missing(0)
    other = FileLock("shared/.view0-unit0.lock")
    with other:
        mine = threading.Thread(target=teacher.build, args=(0,))
        mine.start()
        end = time.monotonic() + 30
        while len(list(Path("shared").glob("view0-*-0000[123].safetensors"))) < 12 and time.monotonic() < end:
            time.sleep(0.01)
        assert not list(Path("shared").glob("view0-*-00000.safetensors"))
        assert mine.is_alive()
    mine.join(30)
    assert contents("shared") == contents("whole")
