"""How many processes there are, and where."""

from __future__ import annotations

import pytest
from small import settings

from tutelage.errors import ConfigError
from tutelage.fabric import make_fabric


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
