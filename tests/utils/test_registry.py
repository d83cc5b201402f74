"""The folder is the registry."""

import sys
from importlib import metadata

import pytest

from tutelage.errors import ConfigError
from tutelage.utils import registry


@pytest.fixture(autouse=True)
def fresh():
    registry.catalogue.cache_clear()
    registry.plugins.cache_clear()
    yield
    registry.catalogue.cache_clear()
    registry.plugins.cache_clear()


def test_names_of_classes():
    names = ["KD", "FitNet", "RKDDistance", "CE", "MovingAverage", "ReviewKD"]
    assert [registry.to_catalogue_name(n) for n in names] == [
        "kd",
        "fitnet",
        "rkd_distance",
        "ce",
        "movingaverage",
        "reviewkd",
    ]


def test_every_entry_loads_says_what_it_is_and_is_found_by_its_name():
    for package in registry.KINDS:
        entries = registry.catalogue(package)
        assert entries
        for name, entry in entries.items():
            assert entry.load().__name__ == entry.class_name
            assert len(entry.summary) > 10
            assert registry.find_entry(package, name) is entry
    assert {"kd", "at", "ce", "crd"} <= registry.catalogue("losses").keys()
    assert {"frozen", "ensemble", "moving_average"} <= registry.catalogue("teachers").keys()


def test_case_and_dashes_do_not_matter():
    assert registry.find_entry("teachers", "Moving-Average").name == "moving_average"
    assert registry.is_known("losses", "RKD_distance") == registry.is_known("losses", "rkddistance") is True
    assert not registry.is_known("losses", "nothing")


def test_an_unknown_name_gets_near_ones():
    with pytest.raises(ConfigError, match="unknown loss 'fitnett': did you mean 'fitnet'"):
        registry.find_entry("losses", "fitnett")


def point(name: str, module: str):
    return metadata.EntryPoint(name, module, "tutelage.losses")


def test_other_packages_join_by_entry_point(tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(
        "from tutelage.losses.base import Response\n"
        "class MyGap(Response):\n    'Mean gap.'\n"
        "    def forward(self, student, teacher):\n        return (student - teacher).abs()\n"
        "class _Helper(Response):\n    'Hidden.'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(
        metadata, "entry_points", lambda group: [point("mine", "my_losses")] if "losses" in group else []
    )
    entry = registry.find_entry("losses", "mygap")
    assert (entry.summary, entry.module) == ("Mean gap.", "my_losses")
    assert "my_losses" not in sys.modules
    assert entry.load()().compares == "response"


def test_an_entry_point_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point("mine", "no_such_module_here")])
    with pytest.raises(ConfigError, match=r"entry point 'mine' of tutelage.losses names module 'no_such_module_here'"):
        registry.catalogue("losses")
