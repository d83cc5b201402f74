"""Networks as mappings: a teacher's keys, those of each of several teachers, a student's and its peers'."""

import pytest

from tutelage.config.schema import check, read
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


def test_each_of_several_teachers_has_options_of_its_own():
    teachers = [{"model": "cnn8", "epochs": 2, "fold": True}, {"model": "cnn16", "epochs": 5, "fold": True}, "cnn4"]
    config = check(STUDENT | {"teacher": teachers, "teacher_epochs": 3, "teacher_lr": 0.2})
    each = config.each_teacher()
    assert [(x.teacher, x.teacher_epochs, x.teacher_fold, x.teacher_lr) for x in each] == [
        ("cnn8", 2, True, 0.2), ("cnn16", 5, True, 0.2), ("cnn4", 3, False, 0.2),
    ]  # fmt: skip
    assert config.teacher_names == ["cnn8", "cnn16", "cnn4"]
    assert check(config.model_dump()) == config


def test_what_all_teachers_have_alike_becomes_the_runs_keys():
    config = check(
        STUDENT | {"teacher": [{"model": "cnn8", "fold": True}, {"model": "cnn16", "fold": True, "lr": 0.1}]}
    )
    assert (config.teacher, config.teacher_fold) == (["cnn8", {"model": "cnn16", "lr": 0.1}], True)


def test_a_student_and_its_peers_have_models_and_weights():
    config = check(STUDENT | {"student": {"model": "cnn4", "weights": "a.pt"}, "teacher": "cnn8"})
    assert (config.student, config.student_weights) == ("cnn4", "a.pt")
    peers = ["cnn4", {"model": "cnn8", "weights": "b.pt"}]
    config = check({"data": "digits", "method": "dml", "peers": peers, "student_weights": "c.pt"})
    assert config.each_peer == [
        {"model": "cnn4", "weights": "c.pt", "inputs": None},
        {"model": "cnn8", "weights": "b.pt", "inputs": None},
    ]
    assert config.student == "cnn4"  # the first is compared and exported


def test_words_may_be_mappings():
    words = ["teacher=[{model: cnn8, epochs: 2}, cnn4]", "student={model: cnn2, weights: 1e3}", "data=digits"]
    config = read(None, words)
    assert config.teacher == [{"model": "cnn8", "epochs": 2}, "cnn4"]
    assert config.student_weights == "1e3"


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
        ({"teacher": [{"model": "cnn8", "epochs": -3}, "cnn8"]}, "teacher cnn8: teacher_epochs"),
        ({"teacher": [{"model": "cnn8", "epoch": 3}, "cnn8"]}, "unknown key of a teacher 'epoch'"),
        ({"teacher": [{"model": "cnn8", "mean": [0.5]}, "cnn8"]}, "teacher cnn8: .*expected both"),
        ({"teacher": [{"model": "cnn8", "ahead": 1}, {"model": "cnn8", "ahead": 2}]}, "ahead is one number"),
        ({"teacher": [{"model": "cnn8", "classes": ["0"]}, "cnn8"]}, "classes of each teacher in the list, or of none"),
        ({"teacher": [{"name": "moving_average"}, {"name": "moving_average"}]}, "it needs a model"),
        ({"student": {"weights": "a.pt"}}, "student=.*needs a model"),
        ({"student": {"model": "cnn2", "epochs": 3}}, "unknown key of a student 'epochs'"),
        ({"method": "dml", "peers": ["cnn2", {"model": "cnn2", "lr": 3}]}, "unknown key of a student 'lr'"),
        (
            {"teacher": "none", "method": None, "teacher_size": 9, "teacher_fold": True},
            r"teacher_fold=True: (.|\n)*teacher_size",
        ),
        (
            {"teacher": "moving_average", "teacher_weights": "a.pt"},
            "teacher_weights=a.pt is for a network that teaches",
        ),
        ({"peers": 3, "teacher": "cnn8"}, "peers=3 with scheme=offline, which trains one student"),
        ({"teacher": {"name": "nobody"}}, "unknown teacher 'nobody'"),
        ({"teacher": {"name": "moving_average", "decay": 2.0}}, "decay"),
    ],
)
def test_what_does_not_fit_is_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        check(STUDENT | keys)
