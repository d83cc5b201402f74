"""Which trials leaders get in addition; that they are found and trained is in test_study.py."""

from __future__ import annotations

from tutelage.study.leaders import trials_of
from tutelage.study.settings import separate


def test_leaders_of_every_kind_get_further_seeds() -> None:
    named = {"name": "hot", "method": [{"name": "kd", "temperature": 8.0}]}
    keys = {"data": "digits", "epochs": 4, "students": ["cnn2"], "teachers": ["cnn32"], "leader_seeds": 3, "seeds": 1}
    settings, of_runs = separate(keys | {"methods": ["at", "takd", "aver@2", named]})
    trials = trials_of(["takd", "aver@2", "hot"], settings, of_runs)
    seeds = {t.method: {o.seed for o in trials if o.method == t.method} for t in trials if t.role != "teacher"}
    assert seeds == {method: {0, 1, 2} for method in ("alone", "kd", "takd", "aver@2", "hot")}
