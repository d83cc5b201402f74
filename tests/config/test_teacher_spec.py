"""A teacher as one mapping is the same as its keys one by one."""

import pytest

from tutelage.config.schema import check
from tutelage.errors import ConfigError

STUDENT = {"student": "cnn2", "data": "digits"}


def test_a_nested_teacher_is_its_keys():
    nested = {"model": "cnn16", "epochs": 3, "lr": 0.2, "precision": "bf16", "mean": [0.5], "std": [0.2]}
    flat = {"teacher" if key == "model" else f"teacher_{key}": value for key, value in nested.items()}
    assert check(STUDENT | {"teacher": nested}) == check(STUDENT | flat)


def test_several_are_a_list_of_such():
    teachers = [
        {"model": "cnn8", "classes": ["0", "1"], "epochs": 2},
        {"model": "cnn16", "classes": ["2"], "epochs": 2},
    ]
    config = check(STUDENT | {"teacher": teachers})
    assert (config.teacher, config.teacher_classes) == (["cnn8", "cnn16"], [["0", "1"], ["2"]])
    assert config.teacher_epochs == 2


def test_a_stage_has_one_too():
    stages = [{"name": "first", "teacher": {"model": "cnn16", "size": 16}}]
    config = check(STUDENT | {"stages": stages, "teacher": "cnn32"})
    first = config.with_overrides(config.stage_overrides()["first"], "first")
    assert (first.teacher, first.teacher_size) == ("cnn16", 16)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"teacher": {"epochs": 3}}, "it needs a model"),
        ({"teacher": {"model": "cnn8", "epoch": 3}}, "unknown key of a teacher 'epoch': did you mean 'epochs'"),
        ({"teacher": {"model": "cnn8", "epochs": 3}, "teacher_epochs": 4}, "teacher_epochs is set twice"),
        ({"teacher": {"model": "cnn8", "epochs": -3}}, "teacher_epochs"),
        (
            {"teacher": [{"model": "cnn8", "epochs": 3}, {"model": "cnn8", "epochs": 4}]},
            "epochs is 3, 4 for the teachers",
        ),
        ({"teacher": {"name": "nobody"}}, "unknown teacher 'nobody'"),
        ({"teacher": {"name": "moving_average", "decay": 2.0}}, "decay"),
    ],
)
def test_what_does_not_fit_is_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        check(STUDENT | keys)
