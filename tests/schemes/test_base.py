"""Every scheme of the catalogue: the losses that it yields have the names of its terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tutelage.config.schema import check
from tutelage.runs import dry_run
from tutelage.runs.run import Run
from tutelage.schemes.base import Scheme
from tutelage.structures import Batch
from tutelage.utils import registry

TINY: dict[str, Any] = {"limit": 60, "batch_size": 20, "epochs": 2, "teacher_epochs": 1, "device": "cpu"}

RECIPES: dict[str, str] = {
    "batch_ensemble": "bake", "bilevel": "tgeo_kd", "blockwise": "lit", "codistillation": "codistillation",
    "cross_layer": "dcm", "dense_votes": "zipf_ls", "distpro": "distpro", "exits": "byot", "hydra": "hydra",
    "l2t_ww": "l2t_ww", "last_batch": "dlb", "last_feature": "amtml", "metadistil": "metadistil",
    "metadistiller": "metadistiller", "middle_feature": "uskd", "mixed": "mixskd", "mutual": "dml",
    "mutual_adversarial": "afd_online", "offline": "kd+at", "same_class": "cs_kd", "self_teacher": "frskd",
    "student_friendly": "sftn", "together": "pcl", "two_views": "ddgsd", "without_student": "ft_stages",
}  # fmt: skip
"""A method with which each scheme is tried."""

ELSEWHERE = {
    "exchange", "batch_head", "pseudo_boxes", "progressive", "consistency", "generative", "other_view", "gan",
    "teacher_gan", "conditional_gan",
}  # fmt: skip
"""Schemes that no recipe has, tried in their own tests."""

NO_TERMS = {
    "student/branches", "peers/peer0/adversarial", "peers/peer1/adversarial", "critics/peer0", "critics/peer1",
    "policies/quiz", "teacher/quiz", "generator/quiz", "weights/quiz", "weights/ahead",
}  # fmt: skip
"""Losses that no term computes."""


def played(method: str, monkeypatch: pytest.MonkeyPatch, **keys: Any) -> dict[str, tuple[set[str], set[str]]]:
    """Return the names of each phase's losses, and those of its terms, by scheme."""
    names: dict[str, tuple[set[str], set[str]]] = {}

    def take_turns(scheme: Scheme, batch: Batch) -> None:
        turns = set()
        for player, losses in scheme.turns(batch, 0):
            torch.stack(list(losses.values())).sum().backward()
            turns |= {f"{player}/{name}" for name in losses}
        known = {prefix + name for prefix, terms in scheme.terms().items() for name in terms}
        names[registry.catalogue_name(type(scheme))] = turns, known

    monkeypatch.setattr(dry_run, "take_turns", take_turns)
    Run(check({**TINY, "method": method, **keys}), folder=Path()).dry_run(20)
    return names


def test_every_scheme_is_tried():
    assert {*RECIPES, *ELSEWHERE} == set(registry.catalogue("schemes"))


@pytest.mark.parametrize("scheme", RECIPES)
def test_losses_have_the_names_of_the_terms(scheme: str, monkeypatch: pytest.MonkeyPatch):
    losses, terms = played(RECIPES[scheme], monkeypatch)[scheme]
    assert losses - NO_TERMS == terms
    assert terms


def test_the_turns_of_single_peers_have_them_too(monkeypatch: pytest.MonkeyPatch):
    losses, terms = played("dml_sequential", monkeypatch)["mutual"]
    assert losses == terms == {"peer0/ce", "peer0/kd", "peer1/ce", "peer1/kd"}
