"""The keys of an explanation are checked in Python as on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

import tutelage
from tutelage.errors import ConfigError
from tutelage.explanation.keys import ExplainKeys


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"only": 5}, "only=5: input should be a valid list"),
        ({"only": [5]}, r"only.0=5: input should be a valid string"),
        ({"samples": 0}, "samples=0: input should be greater than or equal to 16"),
        ({"samples": -3, "probe": 5}, "(?s)samples=-3.*probe=5: input should be a valid string"),
        ({"samples": "many"}, "samples='many'"),
        ({"samples": 20.5}, r"samples=20\.5"),
        ({"only": "agrement"}, "did you mean 'agreement'"),
        ({"only": ["layers", "transfer"]}, r"only=\[transfer\] requires another labelled data set.*add probe=DATA"),
        ({"only": "layers", "probe": "digits"}, "probe=digits: only transfer uses it"),
    ],
)
def test_refusals(keys, message):
    with pytest.raises(ConfigError, match=message):
        tutelage.explain("runs/any", **keys)


def test_a_group_is_a_list_of_one_and_paths_are_text():
    keys = ExplainKeys.check({"only": "transfer", "probe": Path("photos")})
    assert (keys.only, keys.samples, keys.probe) == (["transfer"], 5000, "photos")
