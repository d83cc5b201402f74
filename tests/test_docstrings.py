"""The examples in docstrings run, and every name on the API page has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import tutelage

ROOT = Path(tutelage.__file__).parent
NAMES = re.findall(r"auto(?:function|class):: (tutelage\.[\w.]+)", (ROOT.parents[1] / "docs/api.md").read_text())
MODULES = sorted(path for path in ROOT.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))


def resolve(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_on_the_api_page_has_an_example(name):
    assert ">>> " in (inspect.getdoc(resolve(name)) or "")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_run(path, trials_in_this_process):
    name = ".".join(("tutelage", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed
