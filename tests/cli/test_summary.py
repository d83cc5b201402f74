"""The summary of a finished run on the command line."""

import pytest

from tutelage.cli.summary import print_summary
from tutelage.runs.finished_run import FinishedRun
from tutelage.utils import console
from tutelage.utils.intervals import confidence_interval, verdict


def summary(*values, **more):
    mean = sum(values) / len(values)
    figures = {"accuracy": mean, "values": list(values), "interval": confidence_interval(values), "model": "cnn2"}
    return figures | {"parameters": 496, "macs": 9000, "seconds": None} | more


def result(teacher, alone, student):
    gains = [b - a for a, b in zip(alone, student, strict=True)]
    gain = {
        "mean": sum(gains) / len(gains),
        "interval": confidence_interval(gains),
        "values": gains,
        "verdict": verdict(gains),
    }
    roles = {"teacher": summary(teacher), "baseline": summary(*alone), "student": summary(*student)}
    shared = {"metric": "accuracy", "higher_is_better": True, "data": {}, "before": {}, "others": {}}
    return shared | roles | {"gain": gain}


CASES = {
    "beats": ((0.9, [0.6, 0.61, 0.6], [0.7, 0.71, 0.71]), "The taught student beats"),
    "worse": ((0.9, [0.7, 0.71, 0.7], [0.6, 0.61, 0.61]), "The taught student is worse than the student trained alone"),
    "two seeds": ((0.9, [0.7, 0.71], [0.72, 0.74]), "Two seeds are too few"),
    "one seed": ((0.9, [0.7], [0.72]), "from one seed; seeds=5 gives an interval"),
    "weak teacher": ((0.26, [0.61], [0.5]), "warning: the teacher is worse than the student trained alone"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_summary_contains(case, tmp_path, capsys):
    (teacher, alone, student), text = CASES[case]
    print_summary(FinishedRun(tmp_path, result(teacher, alone, student)))
    output = capsys.readouterr().out
    assert text in output
    assert ("warning" in output) == (case == "weak teacher")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.00255, "2.55 ms"), (0.9999, "1 s"), (2.55, "2.55 s"), (12, "12 s"), (200, "3 min"), (None, "–")],
)
def test_durations_have_no_exponents(seconds, text):
    assert console.format_duration(seconds) == text
