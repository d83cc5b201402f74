"""The card of the chosen student has its figures and its limits."""

from __future__ import annotations

import ast
import re

import pytest
import yaml

import tutelage
from tutelage.errors import TutelageError
from tutelage.study import model_card
from tutelage.study.leaderboard import build

HOSTILE = "a_b|*`<i>#\n# x/../y"


def test_a_card_has_the_figures(trials, tmp_path):
    board = build(trials({"kd": 0.03, "dkd": 0.06}), study="first", command="tutelage compare data=digits")
    path = model_card.write(board, tmp_path, "cnn2")
    text = path.read_text("utf-8")
    row = board.choice("cnn2")
    assert path.name == "card-cnn2.md"
    assert "taught by cnn16 with the method dkd. Chosen in the study first among 2 methods." in text
    assert f"- test accuracy, %: {100 * row.mean:.2f} ± " in text
    assert re.search(r"against the student trained alone, beats: \+\d\.\d\d points", text)
    assert "against plain KD, beats" in text
    assert "(95\xa0% interval +" in text
    assert "chosen by the figures" in text
    assert "- 496 parameters, 0.00354 M MACs for a sample" in text
    assert "digits and its 359 test samples" in text
    assert "    tutelage compare data=digits" in text
    assert yaml.safe_load(text.split("---")[1]) == {
        "library_name": "tutelage", "tags": ["knowledge-distillation"], "metrics": ["accuracy"],
    }  # fmt: skip


def test_a_student_that_no_method_helps_is_trained_alone(trials, tmp_path):
    text = model_card.write(build(trials({"kd": -0.05}, seeds=2)), tmp_path, "cnn2").read_text("utf-8")
    assert "trained alone: no method is shown to help it" in text
    assert "fewer than three seeds" in text
    assert "chosen by the figures" not in text


def test_a_student_without_results_is_refused(trials, tmp_path):
    with pytest.raises(TutelageError, match=r"'cnn9'.*cnn2"):
        model_card.write(build(trials({"kd": 0.05})), tmp_path, "cnn9")


def test_names_are_no_markup(trials, tmp_path):
    board = build([trial | {"student": HOSTILE} for trial in trials({"kd": 0.05})], study=HOSTILE, command=HOSTILE)
    path = model_card.write(board, tmp_path, HOSTILE)
    assert path.parent == tmp_path
    text = path.read_text("utf-8")
    assert "<i>" not in text.replace("\\<i\\>", "").replace("    a_b|*`<i>", "")
    assert "\n# x" not in text


def test_the_code_loads_the_student(trained):
    root, listed = trained
    board = build(listed, root=root)
    for student in board.students:
        text = model_card.write(board, root, student).read_text("utf-8")
        folder = ast.literal_eval(re.search(r"tutelage\.load\((.*?)\)", text)[1])
        assert sum(p.numel() for p in tutelage.load(root / folder).parameters()) == board.choice(student).parameters


def test_each_student_has_a_card_of_its_own_whatever_its_name(trials, tmp_path):
    students = ["a b", "a/b", "a-b", "long/" * 80]
    board = build(trials({"kd": 0.05}, students=students))
    paths = {model_card.write(board, tmp_path, student) for student in students}
    assert len(paths) == len(students)
    assert tmp_path / "card-a-b.md" in paths
