"""Peers with inputs of their own."""

from __future__ import annotations

import pytest
import torch
from small import Crash, CrashAt

import tutelage
from tutelage.config.schema import check
from tutelage.errors import ConfigError

RNG = torch.Generator().manual_seed(0)
LABELS = torch.arange(90) % 3
RGB = torch.randint(0, 256, (90, 3, 8, 8), generator=RNG, dtype=torch.uint8)
ROW = torch.randn(90, 4, generator=RNG) + 3 * torch.eye(4)[LABELS]
ITEMS = [{"rgb": RGB[n], "row": ROW[n], "label": int(LABELS[n])} for n in range(90)]
DATA = (ITEMS[:60], ITEMS[60:])
PEERS = [{"model": "cnn2", "inputs": "rgb"}, {"model": "mlp-16", "inputs": "row"}]
KEYS = {"data": DATA, "classes": 3, "peers": PEERS, "scheme": "mutual", "teacher": "none", "method": "dml"}
KEYS |= {"epochs": 3, "batch_size": 16, "device": "cpu", "lr": 0.05, "log_every": 1, "baseline": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tutelage.distill(**KEYS, out=str(tmp_path_factory.mktemp("peers") / "run"))


def test_each_peer_learns_from_its_own_input(run):
    first, second = (tutelage.load(run.folder / "student-0" / f"{name}.safetensors") for name in ("model", "peer1"))
    assert [(n.card.inputs, n.card.channels) for n in (first, second)] == [(("rgb",), 3), (("row",), 4)]
    others = run.result["others"]["peer1"]
    assert others["accuracy"] > run.result["student"]["accuracy"]
    again = tutelage.evaluate(run.folder / "student-0" / "peer1.safetensors", DATA, classes=3)
    assert again.values["accuracy"] == others["accuracy"]


@pytest.mark.parametrize("at", [2, 10])
def test_a_crash_costs_no_bit(run, at, tmp_path):
    with pytest.raises(Crash):
        tutelage.distill(**KEYS, out=str(tmp_path / "run"), checkpoint_every=0, callbacks=[CrashAt(at)])
    tutelage.resume(tmp_path / "run", data=DATA, classes=3)
    for file in ("model", "peer1"):
        names = [folder / "student-0" / f"{file}.safetensors" for folder in (tmp_path / "run", run.folder)]
        assert names[0].read_bytes() == names[1].read_bytes()


def test_peers_of_one_input_are_the_run_without_it(tmp_path):
    peers = [{"model": "cnn2", "inputs": "rgb"}] * 2
    runs = [
        tutelage.distill(**KEYS | {"peers": p, "epochs": 1}, out=str(tmp_path / str(i)))
        for i, p in enumerate((peers, ["cnn2", "cnn2"]))
    ]
    digests = [(run.folder / "student-0" / "peer1.safetensors").read_bytes() for run in runs]
    assert len(digests[0]) > 0
    assert runs[0].result["student"]["values"] == runs[1].result["student"]["values"]


@pytest.mark.parametrize("scheme", [{"name": "mutual", "sequential": True}, "codistillation"])
def test_schemes_of_separate_peers_take_them(scheme, tmp_path):
    run = tutelage.distill(**KEYS | {"scheme": scheme, "epochs": 1}, out=str(tmp_path / "run"))
    assert run.result["others"]["peer1"]["model"] == "mlp-16"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"peers": [PEERS[0], {"model": "mlp-16", "inputs": "sound"}]}, "unknown input of datasets 'sound'"),
        ({"peers": [PEERS[0], "mlp-16"]}, "expected inputs of each peer, or of none"),
        ({"peers": [PEERS[0], {"model": "cnn2", "inputs": "row"}]}, "cnn2 is a network for images"),
        ({"scheme": "together"}, "gives all peers the same inputs"),
    ],
)
def test_what_peers_cant_have_is_refused(keys, message, tmp_path):
    with pytest.raises((ConfigError, tutelage.TutelageError), match=message):
        tutelage.distill(**KEYS | keys, out=str(tmp_path / "run"))


def test_peers_of_their_own_size_are_refused():
    with pytest.raises(ConfigError, match="peers: all get images of one size"):
        check({"scheme": "mutual", "teacher": "none", "peers": ["cnn2", {"model": "cnn2", "size": 4}]})
