"""A scheme may have other terms at any batch: metrics, policies, checkpoints and the report follow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from outside import installed
from runs.test_resume import stopped
from small import Rows, digest, digits, fit, offline

import tutelage
from tutelage.objective.player import Player
from tutelage.schemes.base import Turn
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch
from tutelage.teachers.base import Teacher
from tutelage.training.callbacks import Callback, JsonLines

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


STAGES = [{"ce"}, {"ce", "kd"}, {"ce", "at"}, {"ce"}]
"""The terms of each epoch, of four batches."""

METHOD = [
    {"name": "kd", "weight": {"name": "uncertainty"}},
    {"name": "at", "weight": {"name": "gradient_ratio", "ratio": 0.5}},
]


def staged() -> Changing:
    usual = offline(digits(), METHOD)
    return Changing(usual.players["student"], usual.teacher, lambda epoch, step: STAGES[int(epoch)])


def trained(scheme: Changing, *callbacks: Callback, folder: Path | None = None) -> str:
    """Train, with a checkpoint after each step; the hash of the student and its terms."""
    fit(scheme, digits(), folder, callbacks, epochs=4, log_every=1, checkpoint_every=0)
    return digest(scheme.players)


def test_rows_have_the_terms_of_their_epoch_only() -> None:
    noted = Rows()
    trained(staged(), noted)
    steps = [set(row["losses"]) for row in noted.of("step")]
    assert steps == [names for names in STAGES for _ in range(4)]
    assert [set(row["norms"]) for row in noted.of("norms")] == STAGES


def test_a_balanced_weight_moves_only_while_its_term_is_there() -> None:
    noted = Rows()
    trained(staged(), noted)
    before, with_kd, with_at, after = noted.of("norms")
    assert before["weights"] == with_kd["weights"] == {"at": 1.0}
    assert with_at["norms"]["at"] == pytest.approx(0.5 * with_at["norms"]["ce"], rel=1e-3)
    assert after["weights"] == with_at["weights"] != {"at": 1.0}


def test_a_learned_weight_moves_only_while_its_term_is_there() -> None:
    scheme, values = staged(), []

    class Noting(Callback):
        def on_epoch_end(self, event: object) -> None:
            values.append(scheme.terms()["student/"].named_terms()["kd"].weight.s.item())

    trained(scheme, Noting())
    without, with_kd, *after = values
    assert without == 0 != with_kd
    assert after == [with_kd, with_kd]


def test_a_crash_in_any_stage_costs_no_bit_and_no_row(tmp_path: Path) -> None:
    expected = trained(staged(), JsonLines(tmp_path / "whole"), folder=tmp_path / "a")
    changes = {"epochs": 4, "log_every": 1, "checkpoint_every": 0}
    for step in (3, 4, 6, 8, 11, 12, 14):
        stopped(staged(), digits(), tmp_path / "b", step, [JsonLines(tmp_path / "again")], **changes)
    torch.manual_seed(99)
    assert trained(staged(), JsonLines(tmp_path / "again"), folder=tmp_path / "b") == expected
    whole, again = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()] for name in ("whole", "again")
    )
    for kind in ("norms", "step", "epoch"):
        assert [row for row in again if row["kind"] == kind] == [row for row in whole if row["kind"] == kind]


SCHEME = """
    from tutelage.schemes.offline import Offline

    class Staged(Offline):
        \"\"\"Other terms in each epoch.\"\"\"

        def turns(self, batch, step):
            kept = [{"ce"}, {"ce", "kd"}, {"ce", "at"}, {"ce"}][int(batch.epoch)]
            for name, losses in super().turns(batch, step):
                yield name, {term: loss for term, loss in losses.items() if term in kept}
"""


def test_the_report_has_every_term_with_its_own_steps(tmp_path: Path) -> None:
    with installed("changing", {"schemes.staged": SCHEME}, tmp_path):
        run = tutelage.distill(
            "cnn2", "cnn4", scheme="staged", method=METHOD, epochs=4, teacher_epochs=0, limit=64, batch_size=16,
            log_every=1, baseline=False, device="cpu", out=str(tmp_path / "run"), progress=False,
        )  # fmt: skip
    folder = run.folder / "student-0"
    facts = json.loads((folder / "phase.json").read_text())
    assert [term["name"] for term in facts["terms"]] == ["ce", "kd", "at"]
    steps = [
        row for line in (folder / "metrics.jsonl").read_text().splitlines() if "losses" in (row := json.loads(line))
    ]
    assert [set(row["losses"]) for row in steps] == [STAGES[int((row["step"] - 1) / len(steps) * 4)] for row in steps]
    page = (run.folder / "report.html").read_text()
    for name in ("ce", "kd", "at"):
        assert f"Loss: {name}" in page
    assert "Last weight" in page
