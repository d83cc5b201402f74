"""Search spaces: their forms, their places in a configuration, and what is refused."""

from __future__ import annotations

import pytest

from tutelage.config.schema import check
from tutelage.errors import ConfigError
from tutelage.study.search_space import NumberRange, SearchSpace, ValueList, place, value_at

BASE = {"data": "digits", "method": [{"name": "kd", "temperature": 4.0}, {"name": "at", "weight": 10.0}]}


def space(search, **keys):
    return SearchSpace.parse(search, check(BASE | keys))


def refuse(search):
    made = space(search)
    if faults := list(made.faults(made.corners())):
        raise ConfigError("\n".join(faults))


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ({"lr": [0.001, 0.1, "log"]}, NumberRange(0.001, 0.1, log=True)),
        ({"lr": [0.001, 0.1]}, NumberRange(0.001, 0.1)),
        ({"epochs": [5, 20]}, NumberRange(5, 20, whole=True)),
        ({"batch_size": [8, 128, "log"]}, NumberRange(8, 128, log=True, whole=True)),
        ({"method.kd.temperature": [1, 8]}, NumberRange(1, 8)),
        ({"method.at.weight": [1, 1000, "log"]}, NumberRange(1, 1000, log=True)),
        ({"batch_size": [16, 32, 64]}, ValueList([16, 32, 64])),
        ({"batch_size": {"choices": [16, 64]}}, ValueList([16, 64])),
        ({"optimizer": ["sgd", "adamw"]}, ValueList(["sgd", "adamw"])),
        ({"method.at.student": ["layer1", ["layer1", "layer2"]]}, ValueList(["layer1", ["layer1", "layer2"]])),
        ({"method": ["kd", "dkd"]}, ValueList(["kd", "dkd"])),
        ({"ema": [None, 0.99]}, ValueList([None, 0.99])),
    ],
)
def test_forms(search, expected):
    assert [*space(search).parameters.values()] == [expected]


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"learning_rate": [1, 2]}, "unknown key of search 'learning_rate'"),
        ({"epoch": [1, 2]}, "did you mean 'epochs'"),
        ({"method.dkd.alpha": [1, 2]}, "unknown part 'dkd'.*Known: at, kd"),
        ({"method.kd": [1, 2]}, "expected an option of kd"),
        ({"lr.peak": [1, 2]}, "lr.peak: 0.1 has no part 'peak'"),
        ({"lr": [0.1, 0.01]}, "low must be below high"),
        ({"lr": [0, 0.1, "log"]}, "low must be above 0"),
        ({"lr": [0.1, float("inf")]}, "low must be below high"),
        ({"lr": 0.1}, "expected .low, high"),
        ({"lr": [0.1]}, "two or more"),
        ({"lr": [0.1, 0.2, "logarithmic"]}, "learning rate|lr"),
        ({"batch_size": [16, 16, 32]}, "each once"),
        ({"data": ["digits", "digits-tasks"]}, "same validation samples: set data outside"),
        ({"seed": [1, 5]}, "same seeds"),
        ({"judged_on": ["test", "val"]}, "set judged_on outside"),
        ({"method": ["kd", "dkd"], "method.kd.weight": [1, 2]}, "is a part of method"),
    ],
)
def test_refusals(search, message):
    with pytest.raises(ConfigError, match=message):
        refuse(search)


def test_all_faults_at_once():
    with pytest.raises(ConfigError) as error:
        space({"lrr": [1, 2], "lr": 3, "seed": [1, 2]})
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize(
    "search",
    [
        {"lr": [0.1, 1000]},
        {"method.kd.temperature": [-1, 8]},
        {"method.kd.temprature": [1, 8]},
        {"optimizer": ["sgd", "lion"]},
        {"optimizer": ["sgd", "lion", "adamw"]},
        {"epochs": [0, 5]},
    ],
)
def test_a_point_at_an_end_must_be_valid(search):
    made = space(search)
    faults = list(made.faults(made.corners()))
    assert faults
    assert all(fault.startswith(f"search: at {next(iter(search))}=") for fault in faults)


def test_corners_are_the_ends_and_each_choice():
    made = space({"lr": [0.01, 0.1], "optimizer": ["sgd", "auto", "adamw"]})
    assert made.corners() == [
        {"lr": 0.01, "optimizer": "sgd"},
        {"lr": 0.1, "optimizer": "adamw"},
        {"lr": 0.01, "optimizer": "auto"},
    ]


def test_a_point_changes_only_its_keys():
    made = space({"lr": [0.01, 0.2], "method.kd.temperature": [1, 8]})
    keys = made.keys({"lr": 0.02, "method.kd.temperature": 2.5})
    assert keys["lr"] == 0.02
    assert keys["method"] == [{"name": "kd", "temperature": 2.5}, {"name": "at", "weight": 10.0}]
    assert {key for key in keys if keys[key] != made.base[key]} == {"lr", "method"}
    assert made.base["method"][0]["temperature"] == 4.0


def test_own_values_are_those_within_the_space():
    made = space({"lr": [0.01, 0.2], "method.kd.temperature": [1, 8], "method.at.weight": [50, 100], "epochs": [1, 5]})
    assert made.own_values() == {"lr": 0.1, "method.kd.temperature": 4.0}


def test_own_values_are_the_defaults_of_losses_too():
    made = space({"method.dkd.beta": [1, 10], "method.dkd.weight": [0.5, 2], "method.dkd.alpha": [2, 3]}, method="dkd")
    assert made.own_values() == {"method.dkd.beta": 8.0, "method.dkd.weight": 1.0}


def test_places_in_mappings_and_stages():
    keys = {"scheme": "mutual", "mix": None, "stages": [{"name": "warm", "lr": 0.1}, {"name": "student"}]}
    assert place(keys, "scheme.sequential", True)["scheme"] == {"name": "mutual", "sequential": True}
    assert place(keys, "mix.alpha", 0.5)["mix"] == {"alpha": 0.5}
    changed = place(keys, "stages.warm.lr", 0.3)
    assert value_at(changed, "stages.warm.lr") == 0.3
    assert value_at(keys, "stages.warm.lr") == 0.1
    assert value_at(keys, "mix.alpha") is None


def test_terms_of_one_name_cannot_be_told_apart():
    with pytest.raises(ConfigError, match="several named 'kd'"):
        space({"method.kd.weight": [1, 2]}, method=[{"name": "kd"}, {"name": "kd", "weight": 2.0}])
