"""How many processes there are, and where."""

from __future__ import annotations

import pytest
import torch
from small import settings

import tutelage
from tutelage.errors import ConfigError
from tutelage.losses.response.kd import KD
from tutelage.training.fabric import make_fabric

DIGITS = {"data": "digits", "student": "cnn2", "teacher": "cnn4", "epochs": 1, "labels_per_class": 4, "baseline": False}


@pytest.fixture
def machines(monkeypatch):
    """What torchrun tells the fourth process of two machines with three each."""
    told = {"WORLD_SIZE": 6, "LOCAL_WORLD_SIZE": 3, "GROUP_RANK": 1, "RANK": 3, "LOCAL_RANK": 0}
    for name, value in (told | {"TORCHELASTIC_RUN_ID": "x", "MASTER_ADDR": "localhost", "MASTER_PORT": 1}).items():
        monkeypatch.setenv(name, str(value))


def test_devices_are_those_of_all_machines(machines):
    fabric = make_fabric(settings(devices=6, batch_size=18))
    assert (fabric.strategy.num_nodes, fabric.strategy.num_processes) == (2, 3)
    assert (fabric.world_size, fabric.node_rank, fabric.local_rank) == (6, 1, 0)


def test_another_number_than_torchruns_is_refused(machines):
    with pytest.raises(ConfigError, match="devices=4, but torchrun started 6 processes"):
        make_fabric(settings(devices=4))


def test_without_torchrun_all_are_here():
    fabric = make_fabric(settings(devices=2))
    assert (fabric.strategy.num_nodes, fabric.strategy.num_processes) == (1, 2)


def test_half_precision_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    with pytest.raises(ConfigError, match="precision=16 needs a GPU, and there is none"):
        make_fabric(settings(precision="16", device="auto"))


class Seen(KD):
    """Notes what it gets."""

    def forward(self, student, teacher):
        assert student.dtype == teacher.dtype == torch.float32
        self.seen = teacher
        return super().forward(student, teacher)


def test_autocast_leaves_the_teachers_answers_as_they_are(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Seen, "seen", property(lambda self: None, lambda self, value: seen.append(value)), raising=False
    )
    tutelage.distill(**DIGITS, method=Seen(), precision="bf16", out=str(tmp_path / "run"))
    assert not seen[-1].equal(seen[-1].bfloat16().float())


@pytest.mark.parametrize("method", ["afd", "crd", "ofd", "reviewkd", "semckd", "simkd", "srrl", "vid", "ickd", "mgd"])
def test_losses_that_learn_do_so_under_autocast(method, tmp_path):
    made = tutelage.distill(**DIGITS, method=method, precision="bf16", out=str(tmp_path / "run"))
    assert made.folder.exists()
