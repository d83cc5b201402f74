"""Two views for student and teacher: by hand, and a moving average that teaches on footage, read once."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from moving import CLASSES, clip, folder_of_clips, write
from safetensors.torch import load_file
from small import Crash, CrashAt, Plain

import tutelage
from tutelage.data import load
from tutelage.errors import ConfigError
from tutelage.losses.relation.embedding_distance import EmbeddingCosine
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.other_view import OtherView
from tutelage.tasks.backbone import Backbone
from tutelage.teachers.frozen import Frozen

KEYS = {
    "scheme": "other_view",
    "epochs": 1,
    "batch_size": 4,
    "device": "cpu",
    "reading": {"frames": 4, "order": "time"},
}


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    root = tmp_path_factory.mktemp("footage")
    for day in range(4):
        write(root / f"day{day}", np.concatenate([clip(day, label, 8) for label in CLASSES]), "{:05d}.png")
    return f"footage:{root}"


def test_each_view_learns_from_the_teacher_of_the_other():
    student, teacher = (Plain(classes=5) for _ in range(2))
    player = Player(student, Terms.from_method(EmbeddingCosine()), Backbone())
    scheme = OtherView(player, Frozen(teacher, Backbone()))
    data = load("digits", limit=32, augment="shift")
    batch = next(data.batches("train", 6, **scheme.batching))
    assert len(batch) == 12
    assert batch.index[:6].equal(batch.index[6:])
    assert not batch.inputs[:6].equal(batch.inputs[6:])
    scheme.wire(batch, 32)
    ((name, losses),) = scheme.turns(batch, 0)
    connector = next(m for m in player.terms.modules() if isinstance(m, torch.nn.Linear))
    s, t = connector(student(batch.inputs)), teacher(batch.inputs)
    expected = [1 - F.cosine_similarity(s[:6], t[6:]), 1 - F.cosine_similarity(s[6:], t[:6])]
    assert name == "student"
    assert losses["embedding_cosine"].item() == pytest.approx(torch.cat(expected).mean().item(), abs=1e-5)


def test_footage_teaches_a_network_in_one_pass_judged_by_labelled_clips(footage, tmp_path):
    clips = folder_of_clips(tmp_path / "labelled", 6)
    keys = KEYS | {"probe": f"clips:{clips}", "augment": "time-crop+shift+color-jitter"}
    with pytest.raises(Crash):
        tutelage.distill(
            "r3d10-4", "moving_average", footage, out=str(tmp_path / "cut"), callbacks=[CrashAt(3)], **keys
        )
    run = tutelage.distill("r3d10-4", "moving_average", footage, out=str(tmp_path / "whole"), **keys)
    resumed = tutelage.resume(tmp_path / "cut")
    one, two = (load_file(x.folder / "student.safetensors") for x in (run, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    events = [json.loads(line) for line in (run.folder / "student-0" / "metrics.jsonl").read_text().splitlines()]
    windows = len(load(footage, reading=KEYS["reading"]).train)
    assert events[0]["steps"] == math.ceil(windows / 4), "each window once"
    values = next(event["val"] for event in events if event["kind"] == "epoch")
    assert {"knn_accuracy", "probe_accuracy", "spread", "embedding_loss"} <= {*values}
    assert run.result["student"]["knn_accuracy"] >= 0
    assert (run.folder / "backbone.safetensors").exists()


def test_what_it_cant_do_is_refused(footage, tmp_path):
    keys = KEYS | {"out": str(tmp_path / "run")}
    with pytest.raises(
        ConfigError, match="data without labels is for scheme=offline and a teacher that comes trained, or for"
    ):
        tutelage.distill("r3d10-4", "moving_average", footage, **keys | {"scheme": "offline"})
    with pytest.raises(ConfigError, match="has no labels, so that only a teacher can teach"):
        tutelage.distill("r3d10-4", "none", footage, **keys)
    with pytest.raises(ConfigError, match="with scheme=other_view the outputs for a sample change"):
        tutelage.distill("cnn2", "cnn4", "digits", **keys | {"reading": {}, "cache": True, "teacher_epochs": 1})
