"""Hopeless trials: worse than the median of the others, in either direction, and never too early."""

from __future__ import annotations

import json

import pytest

from tutelage.study.stopping import HopelessTrial, MedianRule, StopHopeless, read_curve


@pytest.mark.parametrize("higher", [True, False])
def test_a_trial_below_the_median_is_hopeless(higher):
    sign = 1 if higher else -1
    curves = [[sign * (0.1 * n + 0.01 * step) for step in range(6)] for n in range(5)]
    rule = MedianRule("accuracy", higher, 6, curves)
    low, high = ([sign * value] * 4 for value in (0.0, 0.9))
    assert rule.is_hopeless(low)
    assert not rule.is_hopeless(high)
    assert not rule.is_hopeless(low[:2])  # the first third of the epochs
    assert not MedianRule("accuracy", higher, 6, curves[:4]).is_hopeless(low)  # too few to compare with


def write(folder, *values):
    folder.mkdir(parents=True)
    lines = [json.dumps({"kind": "epoch", "epoch": n, "val": {"r2": value}}) for n, value in enumerate(values, 1)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"torn')


def test_the_curve_has_all_trainings_in_their_order(tmp_path):
    for number in (10, 2, 0):
        write(tmp_path / f"student-{number}", number, number + 0.5)
    write(tmp_path / "teacher", 7)
    (tmp_path / "student-11").mkdir()  # it has trained for no epoch yet
    assert read_curve(tmp_path, "r2") == [0, 0.5, 2, 2.5, 10, 10.5]


def test_it_stops_at_the_first_hopeless_epoch_also_when_it_goes_on(tmp_path):
    write(tmp_path / "student-0", 0.5, 0.4, 0.3, 0.2)
    stop = StopHopeless(tmp_path, MedianRule("r2", True, 6, [[1.0] * 6] * 5))
    with pytest.raises(HopelessTrial, match="after 3 epochs"):
        stop.on_train_begin(None)
