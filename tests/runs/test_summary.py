"""A finished run in a notebook and a terminal of Python; progress where somebody watches."""

import io
import json
import sys

import pytest
from rich.console import Console

import tutelage
from tutelage.runs import progress as shown

TINY = {"epochs": 1, "teacher_epochs": 1, "limit": 64, "device": "cpu", "teacher": "cnn2", "student": "cnn2"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tutelage.distill(**TINY, out=str(tmp_path_factory.mktemp("runs") / "a & <b>"))


def test_a_finished_run_is_a_short_line(run):
    said = repr(run)
    assert said.startswith(f"FinishedRun('{run.folder}': accuracy: teacher 0.")
    assert f"undecided, {run.result['gain']['mean']:+.4f}" in said
    assert len(said) < 300
    assert "\n" not in said


def test_a_notebook_shows_a_table_with_the_report(run):
    html = run._repr_html_()
    assert html.count("<tr>") == 4
    assert "from one seed; seeds=5 gives an interval" in html
    assert "report.html" in html
    assert "a &amp; &lt;b&gt;" in html
    assert "<b>" not in html


def test_a_run_without_comparison_has_its_line(tmp_path):
    alone = tutelage.train("cnn2", epochs=1, limit=64, device="cpu", out=str(tmp_path / "r"))
    assert "student taught" not in repr(alone)
    assert alone._repr_html_().count("<tr>") == 2


def told(monkeypatch, call, terminal=False, notebook=False):
    """What a call prints on a console that is a terminal, a notebook or neither."""
    file = io.StringIO()
    made = Console(file=file, force_terminal=terminal, force_jupyter=False, width=120)
    made.is_jupyter = notebook
    if notebook:
        monkeypatch.setattr(made, "print", lambda text, **_: file.write(f"{text}\n"))
    monkeypatch.setattr(shown, "console", lambda: made)
    call()
    return file.getvalue()


@pytest.mark.parametrize(
    ("where", "progress", "expected"),
    [
        ({"terminal": True}, None, True),
        ({"notebook": True}, None, True),
        ({}, None, False),
        ({"terminal": True}, False, False),
        ({"notebook": True}, False, False),
        ({}, True, True),
    ],
)
@pytest.mark.parametrize("call", ["distill", "train", "resume"])
def test_progress_is_shown_where_somebody_watches(call, where, progress, expected, run, tmp_path, monkeypatch):
    keys = TINY | {"teacher": "none", "method": None, "out": str(tmp_path / "r"), "progress": progress}

    def begin():
        if call == "resume":
            finished = json.loads((run.folder / "result.json").read_text())
            (run.folder / "student-0" / "phase.json").unlink()
            assert (
                tutelage.resume(run.folder, progress=progress).result["student"]["values"]
                == finished["student"]["values"]
            )
        elif call == "train":
            tutelage.train("cnn2", **{key: keys[key] for key in ("epochs", "limit", "device", "out", "progress")})
        else:
            tutelage.distill(**keys)

    assert ("done in" in told(monkeypatch, begin, **where)) == expected


def test_a_pipe_gets_nothing(tmp_path, capsys):
    assert not sys.stdout.isatty()
    tutelage.train("cnn2", epochs=1, limit=64, device="cpu", out=str(tmp_path / "r"))
    assert capsys.readouterr().out == ""
