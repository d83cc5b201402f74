"""What isn't as it was written, or is of something else, is refused by name with the mend."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small import net, task_of
from typer.testing import CliRunner

from tutelage import cli
from tutelage import data as datasets
from tutelage.cache import manifest as manifests
from tutelage.cache import store as stores
from tutelage.errors import CacheError
from tutelage.teachers.cached import Cached, CachePlan
from tutelage.teachers.frozen import Frozen

SHARD = "view1-layer1-00001.safetensors"


@pytest.fixture(scope="module", autouse=True)
def small_shards():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "SHARD_ROWS", 32)
        yield


@pytest.fixture(scope="module")
def data():
    return datasets.load("digits", limit=64, augment="shift")


def cache(folder: Path, data, model=None, **changes) -> Cached:
    plan = replace(CachePlan(folder, storage="fp16", views=2, batch_size=16), **changes)
    teacher = Cached(Frozen(model or net("cnn4", 1), task_of(data)), data, plan)
    teacher.prepare_for(["layer1"])
    return teacher


def answers(folder: Path, data, **changes) -> None:
    """Build what is missing, then read both views."""
    teacher = cache(folder, data, **changes)
    for epoch in range(2):
        for batch in data.batches("train", 16, epoch=epoch, views=2):
            assert teacher(batch, ["layer1"]).response.isfinite().all()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data) -> Path:
    folder = tmp_path_factory.mktemp("caches") / "whole"
    answers(folder, data)
    assert len(list(folder.glob("*.safetensors"))) == 8
    return folder


@pytest.fixture
def folder(tmp_path, whole) -> Path:
    return shutil.copytree(whole, tmp_path / "cache")


def refused(folder: Path, data, *said: str, check: bool = True) -> None:
    with pytest.raises(CacheError) as caught:
        answers(folder, data)
    message = str(caught.value)
    for words in (*said, str(folder)):
        assert words in message
    if check:
        result = CliRunner().invoke(cli.app, ["cache", "verify", str(folder)], prog_name="tutelage")
        assert result.exit_code == 1
        assert "Traceback" not in result.output


# shards

PRUNE = "`tutelage cache prune"


@pytest.mark.parametrize("place", [0, 1, 7, 8, 9, 30, 60, 100, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, -100, -2, -1])
@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_of_a_shard(folder, data, place, bit):
    content = bytearray((folder / SHARD).read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 1 << bit
    (folder / SHARD).write_bytes(content)
    refused(folder, data, SHARD, "is torn or was altered: its SHA-256 isn't the manifest's", PRUNE)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, 1000, 0.5, -1])
def test_a_truncated_shard(folder, data, length):
    content = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(content[: int(length * len(content)) if isinstance(length, float) else length])
    refused(folder, data, SHARD, "is torn or was altered", PRUNE)


def lengthened(folder: Path) -> None:
    with open(folder / SHARD, "ab") as file:
        file.write(b"\0")


def of_another_cache(folder: Path) -> None:
    """As another view's, whose content has another hash."""
    shutil.copy(folder / SHARD.replace("view1", "view0"), folder / SHARD)


def swapped(folder: Path) -> None:
    other = folder / SHARD.replace("00001", "00000")
    ours, theirs = (folder / SHARD).read_bytes(), other.read_bytes()
    other.write_bytes(ours)
    (folder / SHARD).write_bytes(theirs)


def a_folder(folder: Path) -> None:
    (folder / SHARD).unlink()
    (folder / SHARD).mkdir()


def a_link_to_nowhere(folder: Path) -> None:
    (folder / SHARD).unlink()
    (folder / SHARD).symlink_to(folder / "nowhere")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / SHARD).unlink(), "is missing"),
        (a_link_to_nowhere, "is missing"),
        (a_folder, "can't be read (Is a directory)"),
        (lengthened, "is torn or was altered"),
        (of_another_cache, "is torn or was altered"),
        (swapped, "is torn or was altered"),
    ],
    ids=["missing", "link", "folder", "lengthened", "of another view", "swapped"],
)
def test_a_shard_that_isnt_its_own(folder, data, harm, said):
    harm(folder)
    refused(folder, data, "view1-layer1-0000", said, PRUNE)


def test_what_is_pruned_is_built_again_to_the_same_bytes(folder, data, whole):
    content = bytearray((folder / SHARD).read_bytes())
    content[50] ^= 1
    (folder / SHARD).write_bytes(content)
    (folder / "view0-response-00000.safetensors").unlink()
    result = CliRunner().invoke(cli.app, ["cache", "prune", str(folder)], prog_name="tutelage")
    assert result.exit_code == 0
    assert f"removed {SHARD}" in result.output
    answers(folder, data)
    for path in (path for path in whole.iterdir() if not path.name.endswith(".lock")):
        assert (folder / path.name).read_bytes() == path.read_bytes()


def test_a_shard_of_another_cache_under_a_manifest_that_knows_its_hash(folder, data):
    found = manifests.read_manifest(folder)
    from safetensors.torch import load_file, save

    content = save(load_file(folder / SHARD), {"key": "of another"})
    (folder / SHARD).write_bytes(content)
    found.shards[SHARD].sha256 = stores.sha256_of_file(folder / SHARD)
    found.write(folder)
    refused(folder, data, SHARD, "belongs to another cache", PRUNE)


# the manifest

ALTERED = "is torn or was altered; delete the folder"


@pytest.mark.parametrize("length", [0, 1, 10, 0.25, 0.5, 0.75, 0.99, -1])
def test_a_truncated_manifest(folder, data, length):
    path = folder / "manifest.json"
    content = path.read_bytes()
    path.write_bytes(content[: int(length * len(content)) if isinstance(length, float) else length])
    refused(folder, data, "manifest.json", ALTERED)


@pytest.mark.parametrize("place", [k / 25 for k in range(25)])
def test_a_flipped_bit_of_the_manifest_is_refused_wherever_it_says_something(folder, data, place):
    path = folder / "manifest.json"
    content = bytearray(path.read_bytes())
    k = int(place * len(content))
    while content[k] in b" \n" or content[k + 1] in b"e,\n":  # a last digit may be below a float's precision
        k += 1
    content[k] ^= 1
    path.write_bytes(content)
    refused(folder, data, "manifest.json")


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"7", b'"x"', b"{}", b"not JSON", b"\xff\xfe\x00", b"[" * 100_000, b"9" * 10_000, b"NaN"],
    ids=["empty", "null", "list", "number", "string", "{}", "text", "bytes", "deep", "long", "NaN"],
)
def test_a_manifest_that_is_none(folder, data, content):
    (folder / "manifest.json").write_bytes(content)
    refused(folder, data, "manifest.json", ALTERED)


def sealed(folder: Path, change: Callable[[dict], object]) -> None:
    """Alter the manifest, and give it the hash that it then should have, where it can have one."""
    said = json.loads((folder / "manifest.json").read_text())
    change(said)
    with suppress(ValueError):
        said["sha256"] = manifests.Manifest.model_validate(said)._checksum()
    (folder / "manifest.json").write_text(json.dumps(said))


def renamed(table: str, old: str, new: str) -> Callable[[dict], None]:
    def change(said: dict) -> None:
        said[table][new] = said[table].pop(old)

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.update(samples=0),
        lambda said: said.update(views=-1),
        lambda said: said.update(unit=0),
        lambda said: said.update(unit=48),
        lambda said: said.update(more=1),
        lambda said: said.pop("samples"),
        lambda said: said.update(key="0" * 64),
        lambda said: said["about"].update(views=9),
        lambda said: said["tensors"]["layer1"].update(rows=0),
        lambda said: said["tensors"]["layer1"].update(rows="many"),
        lambda said: said["tensors"]["layer1"].update(storage="fp8"),
        lambda said: said["tensors"]["response"].update(storage="top10"),
        lambda said: said["tensors"]["layer1"].update(shape=[]),
        lambda said: said["tensors"].pop("layer1"),
        renamed("shards", SHARD, f"../{SHARD}"),
        renamed("shards", SHARD, f"/etc/{SHARD}"),
        renamed("shards", SHARD, "../../etc/passwd"),
        renamed("shards", SHARD, SHARD.replace("view1", "view2")),
        renamed("shards", SHARD, SHARD.replace("view1", "view01")),
        renamed("shards", SHARD, SHARD.replace("00001", "00002")),
        renamed("shards", SHARD, "view1-..%2Flayer1-00001.safetensors"),
        renamed("tensors", "layer1", "../layer1"),
    ],
)
def test_a_manifest_that_makes_no_sense_though_its_hash_is_right(folder, data, change):
    sealed(folder, change)
    refused(folder, data, "manifest.json", ALTERED)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.update(samples=63),
        lambda said: said["tensors"]["layer1"].update(nhwc=True),
        lambda said: said["tensors"]["layer1"].update(storage="int8"),
        lambda said: said["error"]["response"].update(kl=0.0),
        lambda said: said["shards"].pop(SHARD),
        lambda said: said["versions"].update(torch="1.0"),
    ],
)
def test_a_manifest_that_was_edited(folder, data, change):
    said = json.loads((folder / "manifest.json").read_text())
    change(said)
    (folder / "manifest.json").write_text(json.dumps(said))
    refused(folder, data, "manifest.json", ALTERED)


@pytest.mark.parametrize("format", [0, 2, 99])
def test_a_manifest_of_another_format_is_told_so(folder, data, format):
    sealed(folder, lambda said: said.update(format=format, new_field="of a later version"))
    refused(folder, data, f"of format {format}, this version reads 1; name another folder, or delete this one")


def test_a_manifest_from_before_the_last_view_only_costs_that_view(folder, data, whole):
    """Its shards are whole, but nobody vouches for them: they are built again."""
    found = manifests.read_manifest(folder)
    found.shards = {name: shard for name, shard in found.shards.items() if name.startswith("view0")}
    found.write(folder)
    (folder / SHARD).write_bytes(b"torn")
    answers(folder, data)
    assert (folder / SHARD).read_bytes() == (whole / SHARD).read_bytes()
    assert (folder / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


def test_a_lost_manifest_means_a_new_cache_of_the_same_bytes(folder, data, whole):
    (folder / "manifest.json").unlink()
    (folder / SHARD).write_bytes(b"torn")
    answers(folder, data)
    for path in whole.glob("*.*"):
        assert (folder / path.name).read_bytes() == path.read_bytes()


def test_a_missing_manifest_is_no_cache(tmp_path):
    with pytest.raises(CacheError, match=r"is no cache: manifest.json can't be read \(No such file"):
        manifests.read_manifest(tmp_path)


# other folders


def test_a_file_in_place_of_the_folder(tmp_path, data):
    (tmp_path / "cache").write_text("mine")
    with pytest.raises(
        CacheError, match=r"can't be written \(File exists\); free some space, or name a writable folder"
    ):
        answers(tmp_path / "cache", data)
    assert (tmp_path / "cache").read_text() == "mine"


@pytest.mark.parametrize("call", ["mkdir", "open"])
def test_a_folder_that_cant_be_written(tmp_path, data, monkeypatch, call):
    def denied(path, *_, **__):
        if str(tmp_path) in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return called(path, *_, **__)

    called = getattr(os, call)
    monkeypatch.setattr(os, call, denied)
    with pytest.raises(CacheError, match=r"can't be written \(Permission denied\).*\(cache=FOLDER\)"):
        answers(tmp_path / "deep" / "cache", data)


def test_a_manifest_that_cant_be_read(folder, data, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)
    refused(folder, data, "manifest.json can't be read (Permission denied)", check=False)


# of something else


def nudged():
    model = net("cnn4", 1)
    with torch.no_grad():
        model.fc.weight[3, 2] += 1e-6
    return model


OTHER = {
    "other weights": (lambda d: {"model": nudged()}, "another teacher weights ("),
    "other architecture": (lambda d: {"model": net("cnn2", 1)}, "another teacher network ("),
    "other mean": (lambda d: {"data": replace(d, mean=(0.5,))}, "another transform mean ("),
    "other std": (lambda d: {"data": replace(d, std=(0.5,))}, "another transform std ("),
    "other augment": (lambda d: {"data": replace(d, augment="none")}, "another transform augment (shift, here none)"),
    "other size": (lambda d: {"data": replace(d, size=(10, 10))}, "another transform size ([8, 8], here [10, 10])"),
    "other data": (
        lambda d: {"data": replace(d, train=d.train.take(torch.arange(63, -1, -1)))},
        "another data (",
    ),
    "fewer samples": (lambda d: {"data": replace(d, train=d.train.take(torch.arange(63)))}, "another data ("),
    "more views": (lambda d: {"views": 3}, "another views (2, here 3)"),
    "other view_seed": (lambda d: {"view_seed": 1}, "another view_seed (0, here 1)"),
    "other storage": (lambda d: {"storage": "bf16"}, "another storage (fp16, here bf16)"),
    "other layout": (lambda d: {"memory_format": torch.channels_last}, "another channels_last (False, here True)"),
}


@pytest.mark.parametrize("case", OTHER)
def test_a_cache_of_something_else_is_refused_by_name(folder, data, case):
    make, said = OTHER[case]
    changes = {"data": data} | make(data)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CacheError, match=re.escape(said)) as caught:
        cache(folder, **changes)
    assert "set cache=true to build a separate cache, or name another folder" in str(caught.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_same_teacher_made_anew_is_the_same(folder, data):
    again = datasets.load("digits", limit=64, augment="shift")
    before = (folder / "manifest.json").stat()
    answers(folder, again)
    assert (folder / "manifest.json").stat().st_mtime_ns == before.st_mtime_ns
