"""The model card of a study's chosen student, in Markdown."""

from __future__ import annotations

from pathlib import Path

import yaml

from tutelage.errors import TutelageError, plain, unknown
from tutelage.study.answers import count_of, describe_gain
from tutelage.study.exports import Number, escape_markdown
from tutelage.study.leaderboard import Leaderboard
from tutelage.study.rows import Gain, Row
from tutelage.study.trial import slug
from tutelage.utils.files import sha256_of_bytes, write_text

CHOSEN_BY_THESE = "- The method was chosen by the figures that are given here, so its lead is somewhat too large."


def write(board: Leaderboard, root: Path, student: str) -> Path:
    """Write the card of a student as the leaderboard chooses its training, `card-STUDENT.md`, into the study's folder.

    Raises: TutelageError if the student has no result, or the file can't be written.
    """
    row = board.choice(student)
    if row is None:
        raise TutelageError(f"{unknown('student with a result', student, _with_results(board))}")
    path = root / f"card-{_file_name(student)}.md"
    write_text(path, render(board, row))
    return path


def _file_name(student: str) -> str:
    """Return a student's name, or a part of it with a number that is its own if it can't be a file's."""
    name = slug(student)
    return name if name == student else f"{name}-{sha256_of_bytes(student.encode())[:6]}"


def _with_results(board: Leaderboard) -> list[str]:
    return [student for student in board.students if board.choice(student) is not None]


def render(board: Leaderboard, row: Row) -> str:
    """Return the card: what the model is, how good, against what, at what cost, how to load it, and its limits."""
    name, data = escape_markdown(row.student), escape_markdown(str(board.data.get("name", "–")))
    by = f" by {escape_markdown(row.teacher)}" if row.teacher else ""
    taught = "trained alone: no method is shown to help it" if row.role == "alone" else (
        f"taught{by} with the method {escape_markdown(row.method)}"
    )  # fmt: skip
    seed = min(row.folders)
    front = {"library_name": "tutelage", "tags": ["knowledge-distillation"], "metrics": [board.metric]}
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(),
        "---",
        "",
        f"# {name} for {data}",
        "",
        f"The network {name}, {taught}. Chosen in the study {escape_markdown(board.study)} among "
        f"{count_of(len({each.method for each in board.rows_of(row.student)}), 'method')}.",
        "",
        "## Figures",
        "",
        *_figures(board, row),
        "",
        "## Use",
        "",
        "    import tutelage\n",
        f"    model = tutelage.load({row.folders[seed]!r})  # in the study's folder; seed {seed}, its first",
        "",
        "## Limits",
        "",
        *_limits(board, row),
        "",
        "## Repeat it, in the study's folder",
        "",
        f"    {plain(board.command) or 'the command of the study is not known'}",
        "",
        escape_markdown(", ".join(f"{name} {version}" for name, version in sorted(board.versions.items()))),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _figures(board: Leaderboard, row: Row) -> list[str]:
    """Return the metric, the gains, the size and the cost, in a list."""
    number, metric = Number(board.is_fraction), escape_markdown(board.metric)
    size = [f"{row.parameters:,} parameters" if row.parameters is not None else ""]
    size += [f"{row.macs / 1e6:.3g} M MACs for a sample" if row.macs is not None else ""]
    return [
        f"- {board.judged_on} {metric}{number.unit}: {number(row.mean, row.interval)} "
        f"({'mean ± half of the 95 % interval, ' if row.interval else ''}{count_of(len(row.values), 'seed')})",
        *(f"- {_gain(board, gain)}" for gain in row.gains.values()),
        *(f"- {', '.join(filter(None, size))}" for _ in [0] if any(size)),
        *([f"- one training: {row.cost.seconds:.3g} s"] if row.cost.seconds is not None else []),
    ]


def _gain(board: Leaderboard, gain: Gain) -> str:
    reference = {"alone": "the student trained alone", "kd": "plain KD"}[gain.reference]
    noise = ""
    if gain.noise:
        low, high = (Number(board.is_fraction)(bound, None, "+") for bound in gain.noise.interval)
        noise = f"; on other {board.judged_on} samples, the same students' gain is {low} to {high}"
    return f"against {reference}, {gain.verdict}: {escape_markdown(describe_gain(gain, board))}{noise}"


def _limits(board: Leaderboard, row: Row) -> list[str]:
    """Return what the figures don't show."""
    data = escape_markdown(str(board.data.get("name", "–")))
    samples = board.data.get("test" if board.judged_on == "test" else "val", "–")
    return [
        f"- The figures hold for {data} and its {samples} {board.judged_on} samples; other data wasn't tried.",
        *([CHOSEN_BY_THESE] if row.role == "method" else []),
        *([] if len(row.values) > 2 else ["- There are fewer than three seeds: the intervals are wide or missing."]),
    ]
