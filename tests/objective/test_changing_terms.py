"""A scheme may have other terms at any batch: the log has each one's mean over the batches that had it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from small import Rows, digits, fit, offline

from tutelage.objective.player import Player
from tutelage.schemes.base import Turn
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch
from tutelage.teachers.base import Teacher

Which = Callable[[float, int], set[str]]

COURSES: dict[str, Which] = {
    "a teacher that stops within an epoch": lambda epoch, step: {"ce", "kd"} if epoch < 1.5 else {"ce"},
    "a teacher that begins within an epoch": lambda epoch, step: {"ce"} if epoch < 0.5 else {"ce", "kd"},
    "by turns": lambda epoch, step: {"kd"} if step % 2 else {"ce"},
    "nothing for a while": lambda epoch, step: set() if 4 <= step < 6 else {"ce", "kd"},
    "nothing at the end": lambda epoch, step: {"ce", "kd"} if step < 5 else set(),
}


class Changing(Offline):
    def __init__(self, student: Player, teacher: Teacher, which: Which) -> None:
        super().__init__(student, teacher)
        self.which = which

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        for name, losses in super().turns(batch, step):
            if kept := {term: loss for term, loss in losses.items() if term in self.which(batch.epoch, step)}:
                yield name, kept


def rows(which: Which, every: int) -> list[dict]:
    data, noted = digits(), Rows()
    usual = offline(data)
    fit(Changing(usual.players["student"], usual.teacher, which), data, callbacks=[noted], epochs=2, log_every=every)
    return [row for row in noted.rows if row["kind"] == "step"]


@pytest.mark.parametrize("course", COURSES)
@pytest.mark.parametrize("every", [3, 1000])
def test_each_term_is_noted_as_its_mean_over_the_batches_that_had_it(course: str, every: int) -> None:
    single = {row["step"]: row["losses"] for row in rows(COURSES[course], 1)}
    last = 0
    for row in rows(COURSES[course], every):
        steps = range(last + 1, row["step"] + 1)
        names = {name for step in steps for name in single.get(step, {})}
        assert row["losses"].keys() == names
        for name in names:
            values = [single[step][name] for step in steps if name in single.get(step, {})]
            assert row["losses"][name] == pytest.approx(sum(values) / len(values), rel=1e-5)
        last = row["step"]
    assert single
