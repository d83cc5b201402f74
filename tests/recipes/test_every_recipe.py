"""Every recipe by name: plain networks at the end, one forward per batch, and bitwise identical resumption."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import tutelage
from tutelage import models, recipes
from tutelage.config.schema import read
from tutelage.models import serialization
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.runs.inputs import Provided
from tutelage.runs.run import Run
from tutelage.schemes.base import Scheme
from tutelage.structures import Batch
from tutelage.training.callbacks import Callback
from tutelage.training.events import Event

TINY: dict[str, Any] = {
    "epochs": 2, "teacher_epochs": 1, "limit": 60, "batch_size": 20, "checkpoint_every": 0, "log_every": 1,
    "device": "cpu", "baseline": False,
}  # fmt: skip

TIMES: Mapping[str, Mapping[str, float]] = {
    "dml_sequential": {"peer0": 2, "peer1": 2},  # to teach, and to learn
    "mixskd": {"student": 2},  # the samples and their mixtures
    "distpro": {"student": 2.3},  # the step ahead, its quiz (0.3 of a batch here), and the step
    "metadistiller": {"student": 2.3},
    "tgeo_kd": {"student": 2.3},
    "metadistil": {"student": 2.3, "players.teacher.teacher": 2},
    "l2t_ww": {"student": 5},
    "lit blocks-0": {"student": 2},  # by itself, and block by block
    "ft_stages paraphraser-0": {"student": 0},
    "random_teacher": {"teacher.members.0": 0, "teacher.members.1": 0},  # the third is drawn for this batch
}
"""The number of forwards per batch where it isn't 1: by recipe, or by "RECIPE PHASE" for an earlier phase."""


CRASHED_AS: Mapping[str, str] = {
    **dict.fromkeys(["aver", "ebkd", "endd"], "aekd"),
    **dict.fromkeys(["kd_then_ce", "lskd", "multi_task"], "bam"),
    **dict.fromkeys(["kdcl_linear", "kdcl_naive"], "kdcl"),
    "ban_cwtm": "ban",
    "tf_kd": "label_smoothing",
    "unified_heads": "uhc",
}
"""Recipes that aren't crashed, and the one that is: the same phases and schemes, and losses that keep nothing."""


class Ear(Callback):
    """Counts events, and fails at the `at`-th."""

    def __init__(self, at: int = -1) -> None:
        self.at, self.heard = at, 0

    def on_phase_begin(self, phase: str, phases: int) -> None:
        self._count()

    def on_event(self, event: Event) -> None:
        self._count()

    def _count(self) -> None:
        if self.heard == self.at:
            raise Crash
        self.heard += 1


class Crash(Exception):
    pass


@pytest.fixture(scope="module", params=recipes.names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def run(name: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[tutelage.Finished, int]:
    ear = Ear()
    made = tutelage.distill(**TINY, method=name, out=str(tmp_path_factory.mktemp(name) / "run"), callbacks=[ear])
    return made, ear.heard


def files(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*.safetensors"))}


@pytest.fixture(scope="module")
def schemes(run: tuple[tutelage.Finished, int]) -> dict[str, tuple[Scheme, Batch]]:
    """Rebuild and wire the scheme of each phase, and return it with a batch."""
    torch.manual_seed(0)
    folder = run[0].folder
    again = Run(read(folder / "config.yaml"), Provided(), folder)
    found = {}
    for phase in again.phases():
        scheme, parts = again.scheme(phase)
        batch = next(parts.data.batches("train", 20, **scheme.batching))
        scheme.wire(batch, len(parts.data.train))
        found[phase.name] = scheme.train(), batch
    return found


def test_one_word_is_a_run_that_ends_in_bare_networks(run, schemes) -> None:
    folder = run[0].folder
    results = set((folder / "student-0").glob("*.safetensors"))
    for path in results.union(folder.rglob("model.safetensors")):
        card = serialization.card(path)
        unwrap = models.create(card.model, classes=len(card.classes), channels=card.channels).model.state_dict()
        assert {k: x.shape for k, x in load_file(path).items()} == {k: x.shape for k, x in unwrap.items()}, path
    _, *others = schemes["student-0"][0].students()
    assert {path.stem for path in results} == {"model", *others}
    assert run[0].report.exists()


def networks(scheme: Scheme) -> dict[str, nn.Module]:
    """Return all networks of a scheme: students by name, others by path."""
    places = {
        m.model: path.removesuffix(".tapped") for path, m in scheme.named_modules() if isinstance(m, FeatureExtractor)
    }
    students = {student.model: name for name, student in scheme.students().items()}
    return {name: model for model, name in (places | students).items()}


def times_seen(scheme: Scheme, batch: Batch) -> dict[str, float]:
    """Count the forwards per batch of each network, after the forwards that begin an epoch."""
    samples = dict.fromkeys(networks(scheme), 0)
    for place, model in networks(scheme).items():
        model.register_forward_hook(lambda m, x, y, place=place: samples.update({place: samples[place] + len(x[0])}))
    for turn in range(2):
        before = dict(samples)
        for _, losses in scheme.turns(batch, turn):
            sum(losses.values()).backward()
        scheme.after_step()
    return {place: (samples[place] - before[place]) / len(batch) for place in samples}


def test_a_batch_goes_once_through_each_network(name: str, schemes) -> None:
    for phase, (scheme, batch) in schemes.items():
        stated = TIMES.get(name if phase == "student-0" else f"{name} {phase}", {})
        expected = {place: stated.get(place, 1) for place in networks(scheme)}
        assert times_seen(scheme, batch) == expected, phase


def kept(scheme: Scheme) -> list[str]:
    """Return what a scheme keeps beside its networks."""
    inside = tuple(f"{place}." for place, module in scheme.named_modules() if isinstance(module, FeatureExtractor))
    return [key for key in scheme.state_dict() if not key.startswith(inside)]


def test_a_crash_at_any_moment_costs_no_bit(name: str, run, schemes, tmp_path: Path) -> None:
    if name in CRASHED_AS:
        assert not any(kept(scheme) for scheme, _ in schemes.values()), f"{name} keeps something: crash it too"
        return
    whole, moments = run
    at = random.Random(name).randrange(moments)
    with pytest.raises(Crash):
        tutelage.distill(**TINY, method=name, out=str(tmp_path / "run"), callbacks=[Ear(at)])
    tutelage.resume(tmp_path / "run")
    ours, theirs = files(tmp_path / "run"), files(whole.folder)
    assert ours.keys() == theirs.keys()
    assert all(ours[path].read_bytes() == theirs[path].read_bytes() for path in theirs), at
