"""In every scheme, two processes with half of each batch train the same students as one process, and resume them.

Networks have no batch norm, since its statistics are of each process's own samples. Losses that compare samples with
each other see those of both processes (`gather`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small import Plain, settings
from torch import nn

from tutelage import data as datasets
from tutelage.data.data_module import DataModule
from tutelage.losses.feature.at import AT
from tutelage.losses.feature.lit import LIT
from tutelage.losses.multi_teacher.aekd import AEKD
from tutelage.losses.multi_teacher.amtml import AMTML
from tutelage.losses.multi_teacher.aver import AVER
from tutelage.losses.multi_teacher.camkd import CAMKD, CAMKDFeature
from tutelage.losses.multi_teacher.ebkd import EBKD
from tutelage.losses.multi_teacher.endd import EnDD
from tutelage.losses.multi_teacher.hydra import HydraKL
from tutelage.losses.multi_teacher.uhc import UHC
from tutelage.losses.online.dcm import DCM
from tutelage.losses.online.dml import DML, DMLJoint
from tutelage.losses.online.ffl import FFL
from tutelage.losses.online.kdcl import KDCL
from tutelage.losses.online.mcl import MCL
from tutelage.losses.online.okddip import OKDDip
from tutelage.losses.online.one import ONE
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.losses.response.online_label_smoothing import OnlineLabelSmoothing
from tutelage.losses.response.zipf_ls import ZipfLS
from tutelage.losses.self_distillation.bake import BAKE
from tutelage.losses.self_distillation.byot import BYOT, BYOTHint
from tutelage.losses.self_distillation.ddgsd import DDGSD
from tutelage.losses.self_distillation.ps_kd import PSKD
from tutelage.losses.self_distillation.uskd import USKD
from tutelage.nn import feature_pyramid, heads
from tutelage.objective.player import Player
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.schemes import peer_ensembles
from tutelage.schemes.base import Scheme, SelfTaught
from tutelage.schemes.blockwise import Blockwise, BlockwisePlayer
from tutelage.schemes.codistillation import Codistillation
from tutelage.schemes.collaborative import Collaborative
from tutelage.schemes.collaborative_player import CollaborativePlayer
from tutelage.schemes.cross_layer import CrossLayer, CrossLayerPlayer
from tutelage.schemes.dense_votes import DenseVotes, DenseVotesPlayer
from tutelage.schemes.hydra import Hydra, HydraPlayer
from tutelage.schemes.in_batch_ensemble import EmbeddingPlayer, InBatchEnsemble
from tutelage.schemes.intermediate_feature import IntermediateFeature, IntermediateFeaturePlayer
from tutelage.schemes.last_batch import LastBatch, RepeatedBatchPlayer
from tutelage.schemes.last_feature import LastFeaturePlayer
from tutelage.schemes.multi_exit import MultiExit, MultiExitPlayer
from tutelage.schemes.mutual import Mutual
from tutelage.schemes.mutual_adversarial import MapPlayer, MutualAdversarial
from tutelage.schemes.offline import Offline
from tutelage.schemes.pyramid_self_teacher import PyramidPlayer, PyramidSelfTeacher
from tutelage.schemes.same_class import PairPlayer, SameClass
from tutelage.schemes.two_views import TwoViewPlayer, TwoViews
from tutelage.tasks.classification import Classification
from tutelage.teachers.base import Teacher
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.moving_average import MovingAverage
from tutelage.teachers.random_member import RandomMember
from tutelage.teachers.specialists import Specialists
from tutelage.training.fabric import make_fabric
from tutelage.training.trainer import Trainer

TASK = Classification()
ORDER = (0, 1, 2)
STEPS = {"batch_size": 8, "epochs": 2, "lr": 0.1, "checkpoint_every": 0}


def data() -> DataModule:
    return datasets.load("digits", limit=24, augment="shift")


def plain(seed: int, width: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    return Plain(width=width)


def conv(student: torch.Tensor, teacher: torch.Tensor) -> nn.Module:
    """Create a connector without batch norm."""
    return nn.Conv2d(student.shape[1], teacher.shape[1], 1)


def gathered(loss: Any) -> Term:
    return Term(loss, gather=True)


def alone(kind: type[SelfTaught], player: type[Player], *method: Any) -> Scheme:
    return kind(player(plain(0), Terms.from_method(method), TASK))


def with_teachers(
    teacher: Callable[..., Teacher],
    *method: Any,
    player: type[Player] = Player,
    kind: Any = Offline,
    order: tuple[int, ...] = ORDER,
) -> Scheme:
    members = [Frozen(plain(9 + k, 6), TASK) for k in order]
    return kind(player(plain(0), Terms.from_method(method), TASK), teacher(members))


def own_average() -> Scheme:
    student = plain(0)
    return Offline(Player(student, Terms.from_method(CE() + 1.0 * KD(1.0)), TASK), MovingAverage(student, TASK, 0.9))


def specialists() -> Scheme:
    torch.manual_seed(9)
    members = [Frozen(Plain(classes=5, width=6), TASK) for _ in range(2)]
    teacher = Specialists(members, [list("01234"), list("56789")], list("0123456789"))
    return Offline(Player(plain(0), Terms.from_method(UHC() + 1.0 * KD()), TASK), teacher)


def blockwise() -> Scheme:
    method = [CE(), KD(), Term(LIT(), 0.25, connector="identity")]
    return Blockwise(BlockwisePlayer(plain(0), Terms.from_method(method), TASK), Frozen(plain(9), TASK))


def peers(
    kind: Callable[[dict[str, Any]], Scheme],
    *method: Any,
    order: tuple[int, ...] = ORDER,
    player: type[Player] = Player,
) -> Scheme:
    return kind({f"peer{k}": player(plain(k), Terms.from_method(method), TASK) for k in order})


def together(
    ensemble: str, split: str | None, *method: Any, rise: float = 0.0, order: tuple[int, ...] = ORDER, **options: Any
) -> Scheme:
    networks = {f"peer{k}": plain(k) for k in order}
    group = CollaborativePlayer(
        networks, Terms.from_method(method), TASK, peer_ensembles.create_ensemble(ensemble), split, rise=rise
    )
    return Collaborative(group, data(), **options)


CASES: Mapping[str, Callable[[], Scheme]] = {
    "several teachers": partial(
        with_teachers, Ensemble, CE(), AVER(), EBKD(), CAMKD(), Term(EnDD(), 0.01), gathered(AEKD())
    ),
    "their shares": partial(with_teachers, Ensemble, CE(), AMTML(), player=LastFeaturePlayer),
    "their features": partial(with_teachers, Ensemble, CE(), Term(CAMKDFeature(), 1.0, connector=conv)),
    "a teacher drawn": partial(with_teachers, RandomMember, CE(), KD()),
    "teachers one after the other": partial(with_teachers, partial(RandomMember, epochs=2.0), CE(), KD()),
    "a moving average": own_average,
    "hydra": partial(with_teachers, Ensemble, HydraKL(), player=HydraPlayer, kind=Hydra),
    "mutual": partial(peers, Mutual, CE(), DML(), KD()),
    "sequential": partial(peers, partial(Mutual, sequential=True), CE(), KD()),
    "codistillation": partial(peers, partial(Codistillation, every=3), CE(), KD()),
    "apart": partial(together, "none", None, KDCL(), own_views=True),
    "apart, both ways": partial(together, "none", None, DMLJoint()),
    "apart, measured": partial(together, "none", None, KDCL("general")),
    "on a trunk": partial(together, "none", "auto", CE(), KD()),
    "gate": partial(together, "gate", "auto", ONE(), rise=1.0),
    "attention": partial(together, "attention", "auto", OKDDip()),
    "fusion": partial(together, "fusion", "auto", ONE(), Term(KD(3.0), 1.0), own_views=True, average=0.9),
    "exits": lambda: MultiExit(
        MultiExitPlayer(plain(0), Terms.from_method([CE(), BYOT(), Term(BYOTHint(), 1.0, connector="identity")]), TASK)
    ),
    "feature fusion": partial(together, "feature_fusion", "auto", FFL(), rise=1.0),
    "contrast": partial(together, "none", None, CE(), gathered(MCL()), others=1),
    "across layers": partial(peers, CrossLayer, DCM(), player=CrossLayerPlayer),
    "before critics": partial(peers, MutualAdversarial, CE(), KD(), player=MapPlayer),
    "pyramid": partial(alone, PyramidSelfTeacher, PyramidPlayer, CE(), KD(), 10.0 * AT()),
    "blocks": blockwise,
    "teachers of other classes": specialists,
    "same class": partial(alone, SameClass, PairPlayer, CE(), KD()),
    "two views": partial(alone, TwoViews, TwoViewPlayer, CE(), gathered(DDGSD(feature_weight=1.0))),
    "last batch": partial(alone, LastBatch, RepeatedBatchPlayer, CE(), KD()),
    "batch ensemble": partial(alone, InBatchEnsemble, EmbeddingPlayer, CE(), gathered(BAKE())),
    "middle feature": partial(alone, IntermediateFeature, IntermediateFeaturePlayer, gathered(USKD(mu=1.0))),
    "dense votes": partial(alone, DenseVotes, DenseVotesPlayer, CE(), 1.0 * ZipfLS()),
    "past predictions": lambda: Offline(Player(plain(0), Terms.from_method(PSKD()), TASK)),
    "online labels": lambda: Offline(Player(plain(0), Terms.from_method(OnlineLabelSmoothing()), TASK)),
}


class Crash(Exception):
    pass


def failing_at(step: int, scheme: Scheme) -> Scheme:
    """Make the scheme fail after some batches."""
    after_step, steps = scheme.after_step, iter(range(step))

    def fail() -> None:
        if next(steps, None) is None:
            raise Crash
        after_step()

    scheme.after_step = fail
    return scheme


def train(folder: Path, devices: int, failing: bool = False) -> None:
    """Train every case on several processes; the first process writes each case's students to the folder.

    failing: each training first fails in its second epoch, and goes on from its checkpoint.
    """
    options = settings(devices=devices, **STEPS)
    fabric = make_fabric(options, start="fork")

    def fit(scheme: Scheme, checkpoints: Path | None) -> dict[str, nn.Module]:
        torch.manual_seed(3)
        return Trainer(options, TASK, checkpoints, fabric=fabric).fit(scheme, data())

    def work(*_: Any) -> None:
        torch.set_num_threads(1)
        for name, make in CASES.items():
            checkpoints = folder / f"{name} checkpoints" if failing else None
            if failing:
                with pytest.raises(Crash):
                    fit(failing_at(4, make()), checkpoints)
                assert list(checkpoints.glob("*.pt"))
            students = fit(make(), checkpoints)
            if fabric.is_global_zero:
                torch.save({peer: student.state_dict() for peer, student in students.items()}, folder / f"{name}.pt")

    folder.mkdir()
    fabric.launch(work) if devices > 1 else work()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        for module in (heads, peer_ensembles, feature_pyramid):  # exits, gates and pyramids without their batch norms
            patch.setattr(module, "BatchNorm", lambda channels: nn.Identity())
        patch.setattr(feature_pyramid, "conv_bn", lambda dimensions, channels, to: nn.Conv2d(channels, to, 1))
        for devices in (1, 2):
            train(folder / str(devices), devices)
        train(folder / "again", 2, failing=True)
    return folder


def saved_states(folder: Path, run: str, name: str) -> dict[str, dict[str, torch.Tensor]]:
    """Return the weights of a case's students."""
    return torch.load(folder / run / f"{name}.pt")


@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_one(folder: Path, name: str) -> None:
    torch.testing.assert_close(saved_states(folder, "2", name), saved_states(folder, "1", name), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_go_on_to_the_same_bits(folder: Path, name: str) -> None:
    torch.testing.assert_close(saved_states(folder, "again", name), saved_states(folder, "2", name), atol=0, rtol=0)
