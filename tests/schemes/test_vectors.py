"""Reference numbers of published code through whole schemes: networks output a vector's inputs for one turn.

Every vector of the kinds online, self and multi-teacher, and others of a scheme, has its lesson: the scheme, the
teacher and the terms as a run has them, with the vector's numbers. The sum of a turn's losses is the vector's loss, and
the gradients that arrive at the networks' numbers are the vector's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lessons import amalgamated, offline, online, self_distillation, several
from lessons.lesson import compare

from tutelage.schemes.codistillation import Codistillation
from tutelage.schemes.mutual import Mutual
from tutelage.verify.vector import read

KINDS = ("online", "self", "multi-teacher")
VECTORS = {path.stem: read(path) for path in sorted((Path(__file__).parents[1] / "vectors").glob("*.json"))}
LESSONS = amalgamated.LESSONS | offline.LESSONS | online.LESSONS | self_distillation.LESSONS | several.LESSONS
OURS = {name: vector for name, vector in VECTORS.items() if vector.kind in KINDS or vector.method in LESSONS}


@pytest.mark.parametrize("name", OURS)
def test_a_turn_gives_the_published_loss_and_gradients(name: str) -> None:
    compare(OURS[name], LESSONS[OURS[name].method](OURS[name]))


@pytest.mark.parametrize(
    "kind", [lambda peers: Mutual(peers, sequential=True), Codistillation], ids=["turns", "copies"]
)
def test_other_peers_begin_with_the_same_step(kind: Any) -> None:
    """Before the first update, earlier outputs and copies' outputs equal the current outputs."""
    compare(OURS["dml__case0"], online.mutual(OURS["dml__case0"], kind))


def test_there_is_a_vector_for_every_lesson() -> None:
    assert {vector.method for vector in OURS.values()} == set(LESSONS)
