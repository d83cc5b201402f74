"""Answers kept on disk teach as the teacher itself."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from small import digest, digits, fit, net, scenes, settings, task_of
from torch import nn

import tutelage
from tutelage import data as datasets
from tutelage.cache import store as stores
from tutelage.errors import CacheError, ConfigError, NotFinite, TutelageError
from tutelage.fabric import make_fabric
from tutelage.losses.feature.at import AT
from tutelage.losses.feature.fitnet import FitNet
from tutelage.losses.relation.pkt import PKT
from tutelage.losses.response.kd import KD
from tutelage.player import Player
from tutelage.schemes.offline import Offline
from tutelage.teachers.cached import Cached, Plan
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.moving_average import MovingAverage
from tutelage.terms import Terms


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


def plan_of(folder: Path, **changes) -> Plan:
    return replace(Plan(folder, storage="exact", views=3, batch_size=16), **changes)


def scheme(data, method, teacher) -> Offline:
    student = net("seg4" if data.task == "segmentation" else "cnn2", 2, data)
    return Offline(Player(student, Terms.of(method, task_of(data).truth()), task_of(data)), teacher)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["frozen", "ensemble"])
@pytest.mark.parametrize("layout", [None, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("pooled", [False, True], ids=["maps", "vectors"])
def test_what_is_kept_is_what_the_teacher_says_bit_by_bit(tmp_path, kind, layout, pooled):
    data = shifted()
    live = teacher_of(kind, data)
    layers = ["0.layer1", "1.layer2"] if kind == "ensemble" else ["layer1", "layer2"]
    if layout:
        live.to(memory_format=layout)
    cached = Cached(live, data, plan_of(tmp_path, memory_format=layout))
    cached.asked(layers, layers[1:] if pooled else ())
    for epoch in (0, 4):
        batches = data.batches("train", 16, seed=5, epoch=epoch, views=3, view_seed=0, memory_format=layout)
        for batch in batches:
            ours, theirs = cached(batch, layers), live(batch, layers)
            assert torch.equal(ours.response, theirs.response)
            assert torch.equal(ours[layers[0]], theirs[layers[0]])
            assert ours[layers[0]].stride() == theirs[layers[0]].stride()
            expected = theirs[layers[1]].mean((2, 3)) if pooled else theirs[layers[1]]
            assert torch.equal(ours[layers[1]], expected)
    assert {tap.shape for tap in cached.store.manifest.taps.values()} >= {(10,)}
    assert {name.split("-")[0] for name in cached.store.manifest.shards} == {"view0", "view1"}


@pytest.mark.parametrize(
    ("kind", "method"),
    [("digits", KD()), ("digits", KD() + AT()), ("digits", KD() + PKT()), ("scenes", KD() + AT())],
    ids=["kd", "maps", "vectors", "dense"],
)
@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
def test_a_student_of_the_cache_is_the_students_of_the_teacher(tmp_path, kind, method, channels_last):
    data = shifted() if kind == "digits" else replace(scenes(), augment="shift")
    changes = {"epochs": 4, "views": 3, "batch_size": 8, "channels_last": channels_last}
    live = fit(scheme(data, method, teacher_of("frozen", data)), data, **changes)
    layout = torch.channels_last if channels_last else None
    for again in range(2):
        plan = plan_of(tmp_path, memory_format=layout, batch_size=8)
        cached = Cached(teacher_of("frozen", data), data, plan)
        if again:
            cached.teacher.forward = None  # it isn't asked again…
            cached.teacher.forward = lambda batch, layers=(), f=teacher_of("frozen", data): _once(f, batch, layers)
        assert digest(fit(scheme(data, method, cached), data, **changes)) == digest(live)


def _once(teacher, batch, layers):
    """The example that a scheme is wired on has no view; all others have one."""
    assert batch.view is None
    return teacher(batch, layers)
