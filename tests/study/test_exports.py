"""The exports have the figures, the same bytes for the same results, and no markup from names."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from tutelage.study import exports
from tutelage.study.leaderboard import build

HOSTILE = "a_b|c*`<i>&%$#{}~^\\\n[x](y)"


@pytest.fixture
def board(trials, trial):
    listed = trials({"kd": 0.03, "dkd": 0.06, "fitnet": 0.0, "at": None}, students=["cnn2", "cnn4"])
    return build(listed, study="first", command="tutelage compare data=digits", versions={"torch": "2.6.0"})


def cells(text):
    return [[c.strip() for c in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("|")]


def test_markdown_has_the_figures(board):
    head, _, *rows = cells(exports.to_markdown(exports.figures(board)))
    assert head[:5] == ["student", "teacher", "method", "accuracy, %", "seeds"]
    dkd = dict(zip(head, rows[2], strict=True))
    row = board.rows[2]
    low, high = row.interval
    assert dkd["method"] == "dkd"
    assert dkd["accuracy, %"] == f"{100 * row.mean:.2f} ± {50 * (high - low):.2f}"
    assert dkd["over alone, points"].startswith(f"{100 * row.gains['alone'].mean:+.2f} ± ")
    assert dkd["against alone"] == "beats"
    assert dkd["against KD"] == "beats"
    assert (dkd["parameters"], dkd["MACs, M"]) == ("496", "0.00354")
    fitnet = dict(zip(head, next(r for r in rows if r[2] == "fitnet"), strict=True))
    assert re.fullmatch(r"undecided \(≈ [\d,]+ seeds\)", fitnet["against alone"])
    assert dict(zip(head, next(r for r in rows if r[2] == "at"), strict=True))["accuracy, %"] == (
        "5 failed: the loss is NaN"
    )
    assert "    tutelage compare data=digits\n" in exports.to_markdown(exports.figures(board))
    assert f"corrected for {board.comparisons} comparisons" in exports.to_markdown(exports.figures(board))


def test_errors_arent_percentages(trials):
    board = build(trials({"kd": -0.1}, metric="rmse", higher_is_better=False))
    assert "Less rmse is better, so that a gain is negative." in exports.describe(board)
    assert "positive where rmse is less" in exports.costs(board).about
    head, _, *rows = cells(exports.to_markdown(exports.figures(board)))
    assert {"rmse", "over alone"} <= set(head)
    assert float(rows[-1][3].split(" ± ")[0]) == pytest.approx(board.rows[-1].mean, rel=1e-4)


@pytest.mark.parametrize(
    ("value", "bounds", "text", "latex"),
    [
        (40049.3, (31629.0, 48469.6), "40049 ± 8420", r"$40049 \pm 8420$"),
        (842720.0, (-797280.0, 2482720.0), "842720 ± 1640000", r"$842720 \pm 1640000$"),
        (90.792, (-26809.0, 26990.0), "91 ± 26900", r"$91 \pm 26900$"),
        (0.5, (0.48, 0.52), "0.50000 ± 0.02000", r"$0.50000 \pm 0.02000$"),
        (-0.00002, None, "-2e-05", r"$-2 \times 10^{-5}$"),
        (0.0, None, "0", "$0$"),
    ],
)
def test_numbers_have_five_digits_and_no_exponent_that_can_be_spared(value, bounds, text, latex):
    assert exports.Number(False)(value, bounds) == text
    assert exports._latex_cell(text) == latex


def test_latex_is_a_table_of_booktabs(board):
    text = exports.to_latex(exports.figures(board))
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    columns = len(re.search(r"tabular}\{([lr]+)\}", text)[1])
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {columns - 1}
    assert len(rows) == 1 + len(board.rows)
    assert re.search(r"\$\+\d\.\d\d \\pm \d\.\d\d\$", text)
    assert r"accuracy, \%" in text


def test_names_are_no_markup(trials):
    board = build(
        [t | {"student": HOSTILE, "reason": HOSTILE if t["reason"] else ""} for t in trials({"kd": 0.03, "at": None})],
        study=HOSTILE,
        command=f"tutelage {HOSTILE}",
    )
    markdown = exports.to_markdown(exports.figures(board))
    assert len({len(row) for row in cells(markdown)}) == 1
    for character in "_|*`<>&#{}~[]":
        assert not re.search(rf"a_b.*(?<!\\){re.escape(character)}", markdown.splitlines()[0].replace("a_b", ""))
    assert "\n[x]" not in markdown
    latex = exports.to_latex(exports.figures(board))
    bare = re.sub(r"\\[{}$&#_%]", "", latex)
    assert bare.count("{") == bare.count("}")
    assert r"\textless{}i\textgreater{}" in latex, "OT1 has other characters in the places of < and >"
    assert not re.search(r"\\\\\s*[\[*]", latex), "after a row, a bracket or star would be an argument"
    for line in latex.splitlines():
        assert len(re.findall(r"(?<!\\)\$", line)) % 2 == 0
        assert len(re.findall(r"(?<!\\)%", line)) == line.startswith("%")


def test_csv_has_numbers_in_full(board):
    rows = list(csv.DictReader(io.StringIO(exports.to_csv(exports.figures(board)))))
    assert len(rows) == len(board.rows)
    dkd = next(row for row in rows if row["method"] == "dkd" and row["student"] == "cnn2")
    row = next(row for row in board.rows if row.method == "dkd" and row.student == "cnn2")
    assert float(dkd["mean"]) == row.mean
    assert float(dkd["alone_corrected_p"]) == row.gains["alone"].corrected_p
    assert (float(dkd["alone_low"]), float(dkd["alone_high"])) == row.gains["alone"].interval
    assert dkd["alone_verdict"] == "beats"
    assert next(row for row in rows if row["method"] == "alone")["alone_mean"] == ""
    assert next(row for row in rows if row["method"] == "at")["unfinished"] == "5 failed: the loss is NaN"


def test_json_has_every_figure(board):
    read = json.loads(exports.to_json(exports.figures(board)))
    assert (read["study"], read["metric"], read["comparisons"]) == ("first", "accuracy", board.comparisons)
    dkd = next(row for row in read["rows"] if row["method"] == "dkd")
    assert len(dkd["values"]) == 5
    assert dkd["gains"]["kd"]["verdict"] == "beats"
    assert "cost" not in dkd


def test_times_are_in_a_file_of_their_own(board, tmp_path, trials):
    written = {path.name: path.read_bytes() for path in exports.write(board, tmp_path)}
    assert set(written) == {f"{name}.{suffix}" for name in ("leaderboard", "costs") for suffix in exports.FORMATS}
    slower = trials({"kd": 0.03, "dkd": 0.06, "fitnet": 0.0, "at": None}, students=["cnn2", "cnn4"])
    for trial in slower:
        if trial["result"]:
            trial["result"]["student"] |= {"seconds": 77.0, "step_ms": 3.3}
    again = build(slower[::-1], study="first", command="tutelage compare data=digits", versions={"torch": "2.6.0"})
    for path in exports.write(again, tmp_path):
        assert (path.read_bytes() == written[path.name]) == path.name.startswith("leaderboard")


def test_costs_have_the_gain_for_each_minute(board):
    rows = list(csv.DictReader(io.StringIO(exports.to_csv(exports.costs(board)))))
    dkd, row = next(r for r in rows if r["method"] == "dkd"), next(r for r in board.rows if r.method == "dkd")
    assert float(dkd["gain_a_minute"]) == pytest.approx(60 * row.gains["alone"].mean / row.cost.seconds)
    assert float(dkd["step_of_alone"]) == 1
    assert float(dkd["total_seconds"]) == 20


def test_an_empty_study_is_exported(tmp_path):
    assert len(exports.write(build([]), tmp_path)) == 8
