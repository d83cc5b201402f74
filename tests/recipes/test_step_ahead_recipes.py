"""Recipes with lookahead steps, by name, and configurations that are rejected before training."""

from __future__ import annotations

import pytest

import tutelage
from tutelage.errors import TutelageError

SMALL = {"epochs": 1, "teacher_epochs": 1, "limit": 100, "batch_size": 16, "device": "cpu", "baseline": False}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"scheme": {"name": "metadistil", "meta_lr": -1}}, "meta_lr=-1"),
        ({"scheme": {"name": "metadistil", "quiz": 1.0}}, "quiz=1.0: expected a number below 1"),
        ({"scheme": {"name": "metadistil", "quizz": 0.1}}, "unknown option of scheme metadistil 'quizz'"),
        ({"limit": 12}, "quiz=0.1 holds out 1 sample"),
        ({"method": [{"name": "kd"}, {"name": "catkd"}], "scheme": "metadistil"}, "requires the student's classifier"),
        ({"accumulate": 2}, "which doesn't support accumulate=2"),
        ({"recompute": True}, "which doesn't support recompute=True"),
        ({"cache": True}, "with scheme=metadistil the outputs for a sample change"),
        ({"teacher_fold": True}, "teacher_fold needs a frozen teacher"),
        ({"teacher": ["cnn4", "cnn2"]}, "trains its teacher, which must be one network"),
        ({"teacher": "moving_average"}, "trains its teacher, which must be one network"),
        ({"teacher": "none"}, "trains its teacher, which must be one network"),
        ({"method": [{"name": "ce"}], "scheme": "metadistil"}, "don't depend on the parameters that are to be learned"),
        ({"method": [{"name": "kd"}], "scheme": "l2t_ww"}, "0 terms of the method require the weights"),
        (
            {"method": [{"name": "l2t_ww"}], "scheme": {"name": "l2t_ww", "steps": 0}},
            "steps=0: expected a number of 1 or more",
        ),
        ({"method": "distpro", "teacher": "none"}, "DistPro requires teacher outputs"),
        ({"method": "distpro", "scheme": {"name": "distpro", "meta_lr": -1}}, "meta_lr=-1"),
        ({"method": [{"name": "distpro"}]}, "requires pair_weights"),
        ({"method": "metadistiller"}, "its students have no teacher"),
        ({"method": [{"name": "ce"}], "scheme": "metadistiller", "teacher": "none"}, "generates logits"),
    ],
)
def test_what_cannot_work_is_refused_before_training(tmp_path, keys, message):
    keys_of_run = SMALL | {"method": "metadistil", "teacher": "cnn4", "out": str(tmp_path / "run")} | keys
    with pytest.raises(TutelageError, match=message):
        tutelage.distill(**keys_of_run)
    assert not (tmp_path / "run").exists()
