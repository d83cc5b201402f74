"""The two answers of a study in sentences: whether distillation helps here, and which method to take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tutelage.report.components import NB, Unit
from tutelage.study.leaderboard import Leaderboard
from tutelage.study.rows import Gain, Row
from tutelage.utils.intervals import is_worse

ALONE = "the student trained alone"


@dataclass(frozen=True)
class Answer:
    """An answer: its tone (beats, worse, undecided or none), its headline, and a sentence with the figures."""

    tone: str
    headline: str
    sentence: str


def does_it_help(board: Leaderboard) -> Answer:
    """Answer whether distillation helps, from the verdicts against the students alone."""
    rows = compared(board)
    if not rows:
        sentence = "No method has a result in a seed in which its student was also trained alone, so nothing is shown."
        return Answer("none", "Not compared", sentence)
    counts = Counter(row.verdict("alone") for row in rows)
    shown = [row for row in rows if row.verdict("alone") == "beats"]
    best = max(shown or rows, key=lambda row: board.better(row.gains["alone"].mean))
    highest = f"{label(board, best)}: {describe_gain(best.gains['alone'], board)}"
    total = f"Of {count_of(len(rows), 'method' if is_one_pair(board) else 'combination')},"
    tallies = f"{total} {_tally(counts)}"
    if shown:
        helped = len({row.student for row in shown})
        where = f" {helped} of {len(board.students)} students" if len(board.students) > 1 else ""
        text = f"Yes{where and f', for{where}'}. {tallies}. The largest gain that is shown is that of {highest}."
        return Answer("beats", f"Distillation helps{where}", text)
    if counts["worse"] == len(rows):
        return Answer("worse", "Distillation doesn't help", f"No. {tallies}. The best mean is that of {highest}.")
    sentence = f"Not known yet. {tallies}. The best mean is that of {highest}{_seeds_that_decide(best.gains['alone'])}."
    return Answer("undecided", "Undecided", sentence)


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 seed" or "3 seeds"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _tally(counts: Mapping[str, int]) -> str:
    """Return how many rows beat the student alone, are worse and are undecided."""
    beats, worse, undecided = (counts[word] for word in ("beats", "worse", "undecided"))
    first = f"{beats or 'none'} {'beat' if beats > 1 else 'beats'} {ALONE}"
    others = [
        f"{n} {'is' if n == 1 else 'are'} {word}" for n, word in ((worse, "worse"), (undecided, "undecided")) if n
    ]
    return ", ".join([first, *others])


def which_method(board: Leaderboard) -> list[str]:
    """Answer for each student which method to take, in a sentence each."""
    return [_which_for(board, student) for student in board.students]


def _which_for(board: Leaderboard, student: str) -> str:
    choice, rows, unit = board.choice(student), board.rows_of(student), Unit(board.is_fraction)
    if choice is None:
        return f"{student}: none; its trainings have no result."
    if choice.role == "alone":
        promising = [row for row in rows if "alone" in row.gains and board.better(row.gains["alone"].mean) > 0]
        return f"{student}: none is shown to help, so train it alone ({unit(choice.mean)}){_hope(promising, board)}."
    reached = f"{unit(choice.mean)} {board.shown_metric}, {_signed(choice.gains['alone'], board)} over {ALONE}"
    return f"{student}: {label_of_student(board, choice)}, {reached}{_against_kd(choice, board)}."


def _hope(rows: Sequence[Row], board: Leaderboard) -> str:
    """Return the undecided method of the best mean, if there is one."""
    if not rows:
        return ""
    gain = rows[0].gains["alone"]
    best = f"; {label_of_student(board, rows[0])} has the best mean ({_signed(gain, board)})"
    return best + (f", and {_seeds_that_decide(gain)[2:]}" if gain.seeds_to_decide else "")


def _against_kd(row: Row, board: Leaderboard) -> str:
    """Return how a chosen method compares with KD, if it is another and KD has results."""
    if row.method == "kd":
        return ", and no method that helps has a better mean"
    if "kd" not in row.gains:
        return ""
    gain = row.gains["kd"]
    difference = _signed(gain, board)
    return {
        "beats": f", and it beats KD too ({difference})",
        "worse": f", though it is worse than KD ({difference})",
        "undecided": f"; undecided against KD ({difference}{_seeds_that_decide(gain)})",
    }[gain.verdict]


def warnings(board: Leaderboard) -> list[str]:
    """Return warnings: teachers that are worse than a student alone, and too few seeds."""
    teachers = [row for row in board.rows if row.role == "teacher"]
    unit, alone = Unit(board.is_fraction), [row for row in board.rows if row.role == "alone"]
    poor = [
        f"The teacher {teacher.teacher} is worse than {row.student} trained alone ({unit(teacher.mean)} against "
        f"{unit(row.mean)}): train it longer, or use a better one."
        for teacher in teachers
        for row in alone
        if is_worse(teacher.mean, row.mean, board.higher_is_better)
    ]
    counts = [len(row.gains["alone"].values) for row in compared(board)]
    advice = "one gives no interval, and that of two is wide; seeds=5 decides more."
    return [*poor, *([f"Only {count_of(min(counts), 'seed')}: {advice}"] if counts and min(counts) < 3 else [])]


def compared(board: Leaderboard) -> Sequence[Row]:
    """Return the rows with a gain over their student alone."""
    return [row for row in board.rows if "alone" in row.gains]


def is_one_pair(board: Leaderboard) -> bool:
    """Return whether the study has one student and at most one teacher."""
    return len(board.students) <= 1 and len({row.teacher for row in board.rows if row.teacher}) <= 1


def label(board: Leaderboard, row: Row) -> str:
    """Return a row's method, with its student and teacher where the study has several."""
    return label_of_student(board, row) + (f" for {row.student}" if len(board.students) > 1 and row.student else "")


def label_of_student(board: Leaderboard, row: Row) -> str:
    """Return a row's method, with its teacher where the study has several."""
    teachers = {r.teacher for r in board.rows if r.teacher}
    return (row.method or row.role) + (f" by {row.teacher}" if len(teachers) > 1 and row.teacher else "")


def describe_gain(gain: Gain, board: Leaderboard) -> str:
    """Return a gain with its interval, its corrected p value and the number of seeds."""
    unit = Unit(board.is_fraction)
    seeds, tests = count_of(len(gain.values), "seed"), count_of(board.comparisons, "comparison")
    if gain.interval is None:
        return f"{_signed(gain, board)} ({seeds})"
    low, high = map(unit.difference, gain.interval)
    p = "" if gain.corrected_p is None else f", p = {gain.corrected_p:.2g} corrected for {tests}"
    return f"{_signed(gain, board)} (95{NB}% interval {low} to {high}, {seeds}{p})"


def _signed(gain: Gain, board: Leaderboard) -> str:
    unit = Unit(board.is_fraction)
    return f"{unit.difference(gain.mean)}{unit.points or f' {board.metric}'}"


def _seeds_that_decide(gain: Gain) -> str:
    return f"; about {gain.seeds_to_decide:,} seeds would decide it" if gain.seeds_to_decide else ""
