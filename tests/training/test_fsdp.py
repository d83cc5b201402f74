"""Two processes with half the weights each train the same student as two with all of them."""

from __future__ import annotations

import pytest
import torch
from runs.test_resume import mutual
from small import Plain, digits, offline, settings, task_of
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from training.test_trainer_ddp import conv, left, scheme, train

from tutelage.config.schema import read
from tutelage.errors import ConfigError, Interrupted
from tutelage.losses.feature.at import AT
from tutelage.losses.feature.catkd import CATKD
from tutelage.losses.feature.fitnet import FitNet
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.tasks.classification import Classification
from tutelage.teachers.moving_average import MovingAverage
from tutelage.training import checkpoint, fsdp
from tutelage.training.callbacks import JsonLines
from tutelage.training.fabric import make_fabric
from tutelage.training.trainer import Trainer


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """What each process would import again."""
    digits(48)
    Classification().metrics(10)


def taught(method=None):
    """KD with a feature term whose connector learns."""
    torch.manual_seed(0)
    return [KD(), Term(FitNet(), 10, connector=conv)] if method is None else method


CASES = {
    "kd, fitnet": ("digits", None, True, {}),
    "clipped, accumulated": ("digits", None, True, {"clip": 1.0, "accumulate": 2}),
    "a feature alone": ("digits", 20 * AT(), False, {}),
    "inner layers alone": (
        "digits",
        [Term(FitNet(), 10, student="layer2.0", teacher="layer2", connector=conv)],
        False,
        {},
    ),
    "segmentation": ("scenes", KD() + 20 * AT(), True, {}),
    "adamw, the best": ("digits", None, True, {"optimizer": "adamw", "lr": 0.01, "keep": "best", "epochs": 2}),
    "recomputed": ("digits", None, True, {"recompute": True}),
    "bf16": ("digits", None, True, {"precision": "bf16"}),
}


@pytest.mark.parametrize("case", CASES)
def test_shares_train_the_student_that_replicas_train(tmp_path, case):
    kind, method, truth, changes = CASES[case]
    for strategy in ("ddp", "fsdp"):
        train(tmp_path / strategy, 2, kind, taught(method), truth, {"epochs": 1} | changes | {"strategy": strategy})
    (whole, rows), (shares, theirs) = left(tmp_path / "ddp"), left(tmp_path / "fsdp")
    assert whole.keys() == shares.keys()
    for name in whole:
        assert torch.allclose(whole[name], shares[name], atol=1e-6), name
    rows = [row for row in rows if row["kind"] != "norms"]
    assert [row["kind"] for row in rows] == [row["kind"] for row in theirs]
    for ours, other in zip(rows, theirs, strict=True):
        if ours["kind"] in ("epoch", "step"):
            key = "val" if ours["kind"] == "epoch" else "losses"
            assert other[key] == pytest.approx(ours[key], abs=1e-5)


def test_a_stopped_training_goes_on_to_the_same_student(tmp_path):
    changes = {"checkpoint_every": 0, "epochs": 2, "strategy": "fsdp", "optimizer": "adamw", "keep": "best"}
    train(tmp_path / "whole", 2, "digits", taught(), True, changes)
    options = settings(devices=2, batch_size=8, lr=0.1, log_every=2, **changes)
    folder, fabric = tmp_path / "stopped", make_fabric(options, start="fork")
    folder.mkdir()

    def work(*_) -> None:
        torch.set_num_threads(1)
        made = scheme("digits", taught(), True)
        torch.manual_seed(3)
        trainer = Trainer(options, task_of(digits(48)), folder / "checkpoints", [JsonLines(folder / "rows")], fabric)
        made.after_step = lambda: stop(trainer, made)
        with pytest.raises(Interrupted, match="stopped by SIGTERM at step"):
            trainer.fit(made, digits(48))

    def stop(trainer: Trainer, made) -> None:
        weights = list(made.players.parameters())
        assert all(isinstance(p, DTensor) for p in weights)
        assert sum(p.to_local().numel() for p in weights) < 0.6 * sum(p.numel() for p in weights)
        assert sum(isinstance(m, FSDPModule) for m in made.players.modules()) == 3  # two blocks and the player
        if trainer.progress.step == 7:
            trainer.state.stop.record(15)

    fabric.launch(work)
    state = checkpoint.load(folder / "checkpoints", print)
    assert state["progress"]["step"] == 8
    assert state["players"]["student"]["student.model.layer1.0.weight"].shape == (4, 1, 3, 3)
    train(folder, 2, "digits", taught(), True, changes)
    one, two = left(tmp_path / "whole")[0], left(folder)[0]
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_peers_are_divided_too(tmp_path):
    found = {}
    for strategy in ("ddp", "fsdp"):
        options = settings(devices=2, batch_size=8, lr=0.1, strategy=strategy)
        fabric = make_fabric(options, start="fork")

        def work(*_, options=options, fabric=fabric) -> None:
            torch.set_num_threads(1)
            students = Trainer(options, task_of(digits(48)), fabric=fabric).fit(mutual(digits(48)), digits(48))
            if fabric.is_global_zero:
                torch.save({name: s.state_dict() for name, s in students.items()}, tmp_path / options.strategy)

        fabric.launch(work)
        found[strategy] = torch.load(tmp_path / strategy)
    assert list(found["fsdp"]) == ["peer0", "peer1"]
    for peer, weights in found["ddp"].items():
        assert all(torch.allclose(x, found["fsdp"][peer][name], atol=1e-6) for name, x in weights.items())


# what can't be divided


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Term(KD(), {"name": "uncertainty"}), r"terms\.kd\.weight\.s: a number alone"),
        (Term(KD(), {"name": "gradient_ratio"}), "goes by gradient norms"),
        (CATKD(), "requires the student's classifier"),
    ],
)
def test_what_cannot_be_divided_is_refused(method, message):
    made = offline(digits(48), method)
    made.wire(next(iter(digits(48).batches("train", 8))), 48)
    with pytest.raises(ConfigError, match=message):
        fsdp.refuse(made)


def test_a_moving_average_is_refused():
    student = Plain()
    made = Offline(Player(student, Terms.from_method(KD()), Classification()), MovingAverage(student, Classification()))
    with pytest.raises(ConfigError, match="moving average"):
        fsdp.refuse(made)
    with pytest.raises(ConfigError, match="whole weights"):
        read(words=["teacher=moving_average", "student=cnn2", "devices=2", "strategy=fsdp"])


@pytest.mark.parametrize("words", [["ema=0.9"], ["compile=true"], ["precision=16"]])
def test_settings_that_do_not_go_with_shares_are_refused(words):
    name = "precision=16" if words == ["precision=16"] else words[0].split("=")[0]
    with pytest.raises(ConfigError, match=f"strategy=fsdp doesn't go with {name}"):
        read(words=["devices=2", "strategy=fsdp", *words])
    assert not read(words=["strategy=fsdp", *words]).sharded
