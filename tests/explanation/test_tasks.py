"""Every kind of task is explained as far as it can be, and what can't be has its reason."""

import sys
from pathlib import Path

import pytest

import tutelage
from tutelage.explanation.groups import GROUPS

sys.path.append(str(Path(__file__).parents[2] / "bench"))
from tiny_tasks import TASKS

OF_CLASSES = {"agreement", "calibration", "dark_knowledge", "information"}
MADE = {
    "segmentation": {*OF_CLASSES, "layers", "capacity", "gradients"},
    "multi_label": {"layers", "capacity", "gradients", "outputs"},
    "ranking": {"layers", "capacity", "gradients", "outputs"},
    "keypoints": {"layers", "capacity", "gradients", "outputs"},
    "embedding": {"layers", "capacity", "gradients", "outputs"},
    "nodes": {*OF_CLASSES, "layers", "capacity", "gradients", "labels"},
    "tables": {*OF_CLASSES, "capacity", "labels"},
    "sound": {*OF_CLASSES, "layers", "capacity", "gradients", "labels"},
}
"""The groups of figures of a run of each task, without the corruptions."""


@pytest.mark.parametrize("name", MADE)
def test_a_task_has_the_figures_that_make_sense(name, tmp_path):
    keys = TASKS[name](tmp_path / "data") | {"epochs": 1, "teacher_epochs": 1, "device": "cpu"}
    run = tutelage.distill(**keys, out=str(tmp_path / "run"), progress=False)
    groups = tutelage.explain(run, only=[*GROUPS.keys() - {"robustness", "transfer"}], samples=60)["groups"]
    reasons = {group: figures["left out"] for group, figures in groups.items() if "left out" in figures}
    assert groups.keys() - reasons.keys() == MADE[name], reasons
    assert not [reason for reason in reasons.values() if reason.startswith("it failed")]


@pytest.mark.parametrize(
    "keys",
    [
        {"method": "dml", "student": "cnn2", "peers": 2},
        {"method": "byot", "student": "cnn2"},
        {"method": "takd", "teacher": "cnn8", "student": "cnn2", "teacher_epochs": 1},
        {"method": "crd", "teacher": ["cnn4", "cnn2"], "student": "cnn2", "teacher_epochs": 1},
        {"method": "kd+at", "teacher": "cnn4", "student": "cnn2", "teacher_epochs": 1, "cache": True},
    ],
    ids=["peers", "exits", "assistant", "several", "cached"],
)
def test_who_teaches_changes_what_is_compared(keys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shared = {"data": "digits", "limit": 100, "epochs": 1, "batch_size": 32, "device": "cpu", "out": "run"}
    run = tutelage.distill(**keys | shared, progress=False)
    caches = sorted(Path("caches").rglob("*"))
    groups = tutelage.explain(run, only=["agreement", "layers", "gradients", "capacity"], samples=60)["groups"]
    assert sorted(Path("caches").rglob("*")) == caches
    assert groups["capacity"]["sizes"]["values"]["student"]["parameters"] > 0
    assert "left out" not in groups["gradients"]
    for name in ("agreement", "layers"):
        assert ("no trained teacher" in groups[name].get("left out", "")) == ("teacher" not in keys)
