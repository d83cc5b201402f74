"""What editors and type checkers know is what there is."""

import importlib.util
import typing
from pathlib import Path

import pytest

import tutelage
from tutelage.config.schema import Config
from tutelage.utils import registry

FILE = Path(__file__).parents[1] / "docs" / "stubs.py"
SPEC = importlib.util.spec_from_file_location("stubs", FILE)
stubs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(stubs)


@pytest.mark.parametrize("path", stubs.files(), ids=lambda path: path.name)
def test_the_file_is_what_the_code_says(path):
    assert path.read_text(encoding="utf-8") == stubs.files()[path], (
        "run `python docs/stubs.py` and commit what it wrote"
    )


def test_every_key_of_the_configuration_has_its_type():
    known = typing.get_type_hints(tutelage.Keys)
    assert known.keys() == Config.model_fields.keys() - set(stubs.FIRST)
    schema = typing.get_type_hints(Config)
    assert {name: schema[name] for name in known} == known


def test_every_class_of_the_catalogues_is_named():
    text = stubs.catalogue()
    entries = [entry for package in registry.KINDS for entry in registry.catalogue(package).values()]
    assert all(f" as {entry.class_name}\n" in text for entry in entries)
    assert len(entries) > 150
