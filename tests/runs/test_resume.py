"""A training that was stopped, or killed at any moment, ends in bitwise the same student."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from functools import partial
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from PIL import Image
from small import Rows, digest, digits, fit, net, offline, settings, task_of

import tutelage
from tutelage import data as datasets
from tutelage.errors import CheckpointError, Interrupted
from tutelage.losses.feature.at import AT
from tutelage.losses.feature.fitnet import FitNet
from tutelage.losses.online.ffl import FFL
from tutelage.losses.online.kdcl import KDCL
from tutelage.losses.online.mcl import MCL
from tutelage.losses.online.one import ONE
from tutelage.losses.relation.crd import CRD
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.losses.response.online_label_smoothing import OnlineLabelSmoothing
from tutelage.losses.self_distillation.ps_kd import PSKD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.codistillation import Codistillation
from tutelage.schemes.collaborative import Collaborative
from tutelage.schemes.collaborative_player import CollaborativePlayer
from tutelage.schemes.mutual import Mutual
from tutelage.schemes.offline import Offline
from tutelage.schemes.peer_ensembles import create_ensemble
from tutelage.tasks.classification import Classification
from tutelage.teachers.moving_average import MovingAverage
from tutelage.training.callbacks import JsonLines
from tutelage.training.trainer import Trainer


def mutual(data, kind=Mutual, **options):
    method = CE() + 1.0 * KD(1.0)
    players = {f"peer{k}": Player(net("cnn2", k), Terms.from_method(method), Classification()) for k in range(2)}
    return kind(players, **options)


def own_average(data):
    student, task = net("cnn2", 1), Classification()
    return Offline(Player(student, Terms.from_method(1.0 * KD(1.0), CE()), task), MovingAverage(student, task, 0.9))


def together(method, ensemble, split, **options):
    def make(data):
        networks = {f"peer{k}": net("cnn2", k) for k in range(3)}
        group = CollaborativePlayer(
            networks, Terms.from_method(method()), Classification(), create_ensemble(ensemble), split, rise=2.0
        )
        return Collaborative(group, data, **options)

    return make


def crd(data):
    return offline(data, KD() + CRD(dim=8, negatives=16))


def self_taught(name, data):
    from schemes.test_self_distillation import made

    return made(name)


def with_exits():
    from schemes.test_multi_exit import exits

    return exits()


def cross_layer():
    from schemes.test_cross_layer import dcm

    return dcm()


def adversarial():
    from schemes.test_mutual_adversarial import afd

    return afd([net("cnn2", 0), net("cnn4", 1)])


def with_pyramid():
    from schemes.test_pyramid_self_teacher import self_teacher

    return self_teacher()


def mixed(data):
    from schemes.test_mixup_self import mixed

    return mixed()


def step_ahead(name, data):
    from schemes.test_lookahead import meta_scheme

    return meta_scheme(name)


def bilevel(data):
    from schemes.test_bilevel import bilevel as build

    return build()


def without_teacher(data, method):
    return Offline(Player(net("cnn2", 1), Terms.from_method(method), Classification()))


CASES = {
    "kd": (offline, {}),
    "fitnet": (lambda data: offline(data, FitNet() + AT()), {}),
    "crd": (crd, {}),
    "mutual": (mutual, {"keep": "best"}),
    "sequential": (lambda data: mutual(data, sequential=True), {}),
    "codistillation": (lambda data: mutual(data, Codistillation, every=3), {}),
    "one": (together(ONE, "gate", "auto"), {"keep": "best"}),
    "ffl": (together(FFL, "feature_fusion", "auto"), {"keep": "best"}),
    "mcl": (together(lambda: CE() + 1.0 * MCL(), "none", None, others=1), {}),
    "pcl": (together(lambda: ONE() + 1.0 * KD(3.0), "fusion", "auto", own_views=True, average=0.99), {}),
    "kdcl": (together(lambda: KDCL("general"), "none", None, own_views=True), {}),
    "moving average": (own_average, {}),
    "ema": (offline, {"ema": 0.9, "keep": "best"}),
    "dot": (lambda data: offline(data, KD() + FitNet()), {"dot": 0.075}),
    "adamw": (offline, {"optimizer": "adamw", "lr": 0.01, "lr_warmup": 0.5}),
    "accumulated": (offline, {"accumulate": 2}),
    "mix": (offline, {"mix": "mixup+cutmix"}),
    "bf16": (offline, {"precision": "bf16"}),
    "same class": (partial(self_taught, "same_class"), {}),
    "two views": (partial(self_taught, "two_views"), {}),
    "last batch": (partial(self_taught, "last_batch"), {}),
    "batch ensemble": (partial(self_taught, "batch_ensemble"), {}),
    "middle feature": (partial(self_taught, "middle_feature"), {}),
    "dense votes": (partial(self_taught, "dense_votes"), {}),
    "exits": (lambda data: with_exits(), {}),
    "cross layer": (lambda data: cross_layer(), {"keep": "best"}),
    "adversarial": (lambda data: adversarial(), {"accumulate": 2}),
    "self teacher": (lambda data: with_pyramid(), {}),
    "mixed": (mixed, {"keep": "best"}),
    "metadistil": (partial(step_ahead, "metadistil"), {"keep": "best"}),
    "l2t_ww": (partial(step_ahead, "l2t_ww"), {}),
    "distpro": (partial(step_ahead, "distpro"), {}),
    "metadistiller": (partial(step_ahead, "metadistiller"), {}),
    "bilevel": (bilevel, {}),
    "past predictions": (lambda data: without_teacher(data, PSKD()), {}),
    "online label smoothing": (lambda data: without_teacher(data, OnlineLabelSmoothing()), {}),
}


def stopped(scheme, data, folder: Path, at: int, callbacks=(), **changes) -> None:
    """Train until so many batches are done, then fail as a crash would."""

    class Crash(Exception):
        pass

    after_step = scheme.after_step

    def crash() -> None:
        if trainer.progress.step >= at:
            raise Crash
        after_step()

    scheme.after_step = crash
    torch.manual_seed(3)
    trainer = Trainer(settings(**changes), task_of(data), folder, callbacks)
    with pytest.raises(Crash):
        trainer.fit(scheme, data)


@pytest.mark.parametrize("case", CASES)
def test_a_crash_costs_no_bit(tmp_path, case):
    """Both within an epoch and in the next."""
    make, changes = CASES[case]
    data, changes = digits(64), {"epochs": 3, "checkpoint_every": 0} | changes
    whole = digest(fit(make(data), data, **changes))
    for at in (3, 5):
        stopped(make(data), data, tmp_path / str(at), at, **changes)
        scheme = make(data)
        torch.manual_seed(99)
        again = fit(scheme, data, tmp_path / str(at), **changes)
        assert digest(again) == whole, at


def test_a_crash_under_photo_workers_and_augmentation_costs_no_bit(tmp_path):
    for label in ("cat", "dog"):
        for k in range(12):
            path = tmp_path / "photos" / label / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = torch.randint(256, (140 + k, 140, 3), dtype=torch.uint8).numpy()
            Image.fromarray(image).save(path)
    data = datasets.load(f"folder:{tmp_path / 'photos'}", size=16, augment="resized-crop")

    def make():
        return offline(data, KD(), net("cnn2", 1, data), net("cnn4", 2, data))

    changes = {"epochs": 2, "batch_size": 4, "checkpoint_every": 0}
    whole = fit(make(), data, **changes)
    stopped(make(), data, tmp_path / "run", 3, workers=2, **changes)
    assert digest(fit(make(), data, tmp_path / "run", workers=2, **changes)) == digest(whole)


def test_rows_after_a_crash_are_those_of_an_undisturbed_run(tmp_path):
    data, changes = digits(64), {"epochs": 3, "checkpoint_every": 0, "log_every": 1}
    fit(offline(data), data, tmp_path / "a", [JsonLines(tmp_path / "whole")], **changes)
    for at in (0, 4, 7):
        stopped(offline(data), data, tmp_path / "b", at, [JsonLines(tmp_path / "again")], **changes)
    fit(offline(data), data, tmp_path / "b", [JsonLines(tmp_path / "again")], **changes)
    whole, again = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()] for name in ("whole", "again")
    )

    def told(rows):
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows if row["kind"] != "begin"]

    assert told(again) == told(whole)
    assert [row["step"] for row in again if row["kind"] == "begin"] == [0, 4, 7]


def test_rows_of_a_run_killed_before_its_first_checkpoint_begin_anew(tmp_path):
    data, changes = digits(64), {"epochs": 1, "checkpoint_every": 1000, "log_every": 1}
    stopped(offline(data), data, tmp_path, 3, [JsonLines(tmp_path / "rows")], **changes)
    fit(offline(data), data, tmp_path, [JsonLines(tmp_path / "rows")], **changes)
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "rows").read_text().splitlines()]
    assert kinds == ["begin", "norms", "step", "step", "step", "step", "epoch", "end"]


def test_a_torn_newest_checkpoint_is_named_and_the_one_before_is_used(tmp_path):
    data, changes, rows = digits(64), {"epochs": 2, "checkpoint_every": 0}, Rows()
    whole = fit(offline(data), data, **changes)
    stopped(offline(data), data, tmp_path, 6, **changes)
    newest = max(tmp_path.glob("*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    again = fit(offline(data), data, tmp_path, [rows], **changes)
    assert digest(again) == digest(whole)
    assert newest.name in rows.of("warning")[0]["message"]
    assert rows.of("begin")[0]["step"] == 5


def test_all_checkpoints_torn_is_an_error(tmp_path):
    data = digits(64)
    stopped(offline(data), data, tmp_path, 6, epochs=2, checkpoint_every=0)
    for path in tmp_path.glob("*.pt"):
        path.write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="all checkpoints in"):
        fit(offline(data), data, tmp_path, epochs=2)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    data = digits(64)
    stopped(offline(data), data, tmp_path, 2, checkpoint_every=0)
    with pytest.raises(tutelage.TutelageError, match="is of another run"):
        fit(offline(data, student=net("cnn8", 2)), data, tmp_path)


def test_another_number_of_threads_is_told(tmp_path):
    data, rows = digits(64), Rows()
    stopped(offline(data), data, tmp_path, 2, checkpoint_every=0)
    torch.set_num_threads(2)
    try:
        fit(offline(data), data, tmp_path, [rows])
    finally:
        torch.set_num_threads(1)
    assert "used 1 threads and now has 2" in rows.of("warning")[0]["message"]


def test_a_signal_stops_after_the_step_and_says_what_was_saved(tmp_path):
    data = digits(64)
    whole = fit(offline(data), data, epochs=2)
    scheme = offline(data)
    after_step = scheme.after_step

    def kill() -> None:
        after_step()
        if trainer.progress.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    scheme.after_step = kill
    torch.manual_seed(3)
    trainer = Trainer(settings(epochs=2), Classification(), tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match=f"stopped by SIGTERM at step 5; saved in {tmp_path}"):
        trainer.fit(scheme, data)
    assert signal.getsignal(signal.SIGTERM) is before
    assert digest(fit(offline(data), data, tmp_path, epochs=2)) == digest(whole)


# whole runs, in processes that are killed

KEYS = {
    "teacher": "cnn4", "student": "cnn2", "method": "kd+fitnet+crd", "teacher_epochs": 2, "epochs": 4, "limit": 200,
    "batch_size": 16, "checkpoint_every": 0, "log_every": 1, "device": "cpu",
}  # fmt: skip


def work(out: Path) -> None:
    tutelage.resume(out) if (out / "environment.json").exists() else tutelage.distill(out=str(out), **KEYS)


def start(out: Path) -> BaseProcess:
    process = get_context("fork").Process(target=work, args=[out])
    process.start()
    return process


def checkpoints(out: Path) -> set[Path]:
    try:
        return set(out.glob("*/checkpoints/*.pt"))
    except FileNotFoundError:  # a phase has just ended
        return set()


def kill_at_random(process: BaseProcess, out: Path, number: int, chance: random.Random) -> None:
    """Let it get to writing checkpoints, then kill it some way further."""
    known, until = checkpoints(out), time.monotonic() + 60
    while process.is_alive() and checkpoints(out) <= known and time.monotonic() < until:
        time.sleep(0.002)
    time.sleep(chance.random() * 0.15)
    if process.is_alive():
        os.kill(process.pid, number)


def weights(out: Path) -> list[bytes]:
    return [(out / name / "model.safetensors").read_bytes() for name in ("teacher", "baseline-0", "student-0")]


def steps(out: Path) -> dict[str, list]:
    found = {}
    for phase in ("teacher", "baseline-0", "student-0"):
        rows = [json.loads(line) for line in (out / phase / "metrics.jsonl").read_text().splitlines()]
        found[phase] = [
            (row["kind"], row.get("step"), row.get("losses"))
            for row in rows
            if row["kind"] in ("step", "epoch", "norms")
        ]
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    work(out)
    return out


@pytest.mark.parametrize(("number", "times"), [(signal.SIGKILL, 8), (signal.SIGTERM, 3)], ids=["kill -9", "SIGTERM"])
def test_a_run_killed_again_and_again_ends_in_the_same_files(tmp_path, undisturbed, number, times):
    chance, out, ends = random.Random(int(number)), tmp_path / "run", []
    for attempt in range(times + 1):
        process = start(out)
        if attempt < times:
            kill_at_random(process, out, number, chance)
        process.join(200)
        ends.append(process.exitcode)
        if ends[-1] == 0:
            break
    assert ends[-1] == 0
    assert len(ends) > 2
    asked = {1, -signal.SIGTERM, int(signal.SIGTERM)}  # 1 in a training; elsewhere it ends at once, by whoever listens
    assert set(ends[:-1]) <= ({-signal.SIGKILL} if number == signal.SIGKILL else asked)
    assert weights(out) == weights(undisturbed)
    assert steps(out) == steps(undisturbed)
    ours, theirs = (json.loads((folder / "result.json").read_text()) for folder in (out, undisturbed))
    assert ours["student"]["values"] == theirs["student"]["values"]


def test_a_finished_run_is_not_trained_again(undisturbed):
    before = {p: p.stat().st_mtime_ns for p in undisturbed.glob("*/model.safetensors")}
    result = (undisturbed / "result.json").read_text()
    tutelage.resume(undisturbed)
    assert {p: p.stat().st_mtime_ns for p in undisturbed.glob("*/model.safetensors")} == before
    assert (undisturbed / "result.json").read_text() == result
