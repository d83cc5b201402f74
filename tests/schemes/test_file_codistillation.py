"""Peers in separate runs equal the peers of one codistillation."""

import os
import signal
import time
from multiprocessing import get_context

import pytest
import torch
from small import digits, fit, net

import tutelage
from tutelage.errors import CheckpointError, ConfigError, DataError
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.file_codistillation import FileCodistillation
from tutelage.tasks.classification import Classification

TOGETHER = {
    "data": "digits", "method": [{"name": "ce"}, {"name": "kd", "weight": 1.0}], "epochs": 3, "limit": 160,
    "batch_size": 16, "device": "cpu", "baseline": False, "log_every": 1, "checkpoint_every": 0,
}  # fmt: skip


def peers(count=2):
    return {
        f"peer{k}": Player(net("cnn2", k), Terms.from_method(CE() + 1.0 * KD(1.0)), Classification())
        for k in range(count)
    }


def apart(folder, out, me, **options):
    """Train the run of one peer."""
    torch.set_num_threads(1)
    scheme = {"name": "exchange", "folder": folder and str(folder), "me": me, "every": 4, "wait": 60, **options}
    return tutelage.distill(**TOGETHER | {"scheme": scheme, "out": str(out)})


def start(*args, **options):
    process = get_context("fork").Process(target=apart, args=args, kwargs=options)
    process.start()
    return process


def weights(run):
    return tutelage.load(run).state_dict()


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Train the two peers of one codistillation."""
    out = tmp_path_factory.mktemp("together") / "run"
    scheme = {"name": "codistillation", "every": 4}
    tutelage.distill(**TOGETHER | {"scheme": scheme, "out": str(out)})
    return [weights(out / "student-0" / name) for name in ("model.safetensors", "peer1.safetensors")]


def test_two_runs_without_lag_are_one_codistillation_though_one_is_killed(tmp_path, together):
    first = start(tmp_path / "x", tmp_path / "a", 0, lag=0)
    second = start(tmp_path / "x", tmp_path / "b", 1, lag=0)
    seen = tmp_path / "x" / "student-0" / "peer1-000001.safetensors"
    while not seen.exists() and second.is_alive():
        time.sleep(0.01)
    os.kill(second.pid, signal.SIGKILL)
    second.join()
    tutelage.resume(tmp_path / "b")
    first.join()
    assert first.exitcode == 0
    for k, name in enumerate("ab"):
        exchanged = weights(tmp_path / name)
        assert all(torch.equal(exchanged[key], x) for key, x in together[k].items())


def test_with_a_lag_it_hears_what_was_left_a_round_before(tmp_path):
    names = {"peer0": peers(), "peer1": peers()}
    schemes = {me: FileCodistillation(made, me, tmp_path, every=2, lag=1, wait=0.1) for me, made in names.items()}
    batch = next(digits(16).batches("train", 16))
    for scheme in schemes.values():
        scheme.wire(batch, 16)
    (copy,) = schemes["peer0"].copies.values()
    (copied,) = schemes["peer1"].copies.values()
    begun = copy.feature_extractor.model.fc.weight.clone()
    weights_seen = []
    for step in range(5):
        for scheme in schemes.values():
            ((_, losses),) = scheme.turns(batch, step)
            sum(losses.values()).backward()
        weights_seen.append(copy.feature_extractor.model.fc.weight.clone())
        with torch.no_grad():
            schemes["peer1"].peers["peer1"].student.model.fc.weight.add_(1)
    assert torch.equal(weights_seen[3], begun)  # at round 1 those of round 0
    assert torch.allclose(weights_seen[4], begun + 2)  # at round 2 those of round 1, after two steps
    assert not any(p.requires_grad for p in copied.parameters())


def test_a_run_trains_its_own_peer_only_and_resumes_its_copies(tmp_path):
    made = peers(3)
    scheme = FileCodistillation(made, "peer1", tmp_path)
    assert list(scheme.players) == ["student"]
    assert list(scheme.copies) == list(scheme.checkpoint_state()) == ["peer0", "peer2"]
    assert scheme.students()["student"].model is made["peer1"].student.model
    fit(scheme, digits(32), epochs=1)  # fewer batches than a round: nobody is asked
    resumed = FileCodistillation(peers(3), "peer1", tmp_path)
    with torch.no_grad():
        next(scheme.copies.parameters()).add_(1)
    resumed.load_checkpoint_state(scheme.checkpoint_state())
    assert torch.equal(next(scheme.copies.parameters()), next(resumed.copies.parameters()))


def test_a_peer_that_doesnt_come_is_said(tmp_path):
    scheme = FileCodistillation(peers(), "peer0", tmp_path, lag=0, wait=0.1)
    with pytest.raises(DataError, match=r"peer1-000001.safetensors didn't appear within 0.1 s"):
        scheme.refresh_copies(1)


def test_another_runs_folder_and_other_models_are_refused(tmp_path):
    FileCodistillation(peers(), "peer0", tmp_path, run="one").refresh_copies(1)
    FileCodistillation(peers(), "peer0", tmp_path, run="one").refresh_copies(1)  # resumed
    with pytest.raises(ConfigError, match="belongs to another run, one"):
        FileCodistillation(peers(), "peer0", tmp_path, run="two").refresh_copies(1)
    wide = {f"peer{k}": Player(net("cnn4", k), Terms.from_method(1.0 * KD(1.0)), Classification()) for k in range(2)}
    with pytest.raises(CheckpointError, match="doesn't fit the peer"):
        FileCodistillation(wide, "peer1", tmp_path, lag=0, run="one").refresh_copies(1)
    (tmp_path / "peer0-000001.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"safetensors is torn"):
        FileCodistillation(peers(), "peer1", tmp_path, lag=0, run="one").refresh_copies(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"folder": None}, "needs a folder"), ({"me": 2}, "me=2: there are 2 peers"), ({"lag": -1}, "lag=-1"),
     ({"every": 0}, "every=0"), ({"wait": 0}, "wait=0")],
)  # fmt: skip
def test_bad_options_are_refused_before_anything_is_trained(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        apart(out=tmp_path / "a", **{"folder": tmp_path / "x", "me": 0, **options})
    assert not (tmp_path / "a").exists()
