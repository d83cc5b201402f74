"""The benchmarks: each can be imported and shows its help, and a study calls the runs as they are."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import create_autospec

import pytest
import torch

BENCH = Path(__file__).parents[1] / "bench"
SCRIPTS = sorted(path.stem for path in BENCH.glob("*.py"))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that imports a benchmark by name, as if it ran as a program."""
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_is_imported_and_shows_its_help(name: str, script: Any, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    module = script(name)
    if "parse_args()" not in (BENCH / f"{name}.py").read_text(encoding="utf-8"):
        return
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as caught:
        module.main()
    assert caught.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_the_study_of_caches_runs_a_teacher_and_its_students(script: Any, tmp_path: Path, monkeypatch) -> None:
    study = script("cache_accuracy")
    student = {"accuracy": 0.5, "step_ms": 1.0}
    run = create_autospec(study.run, return_value={"metric": "accuracy", "student": student})
    monkeypatch.setattr(study, "run", run)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.chdir(tmp_path)
    options = ["--data", "digits", "--out", str(tmp_path / "out"), "--seeds", "2", "--storages", "fp16"]
    monkeypatch.setattr(sys, "argv", ["cache_accuracy", *options, "size=16"])
    study.main()
    teacher, alone, *taught = [call.args for call in run.call_args_list[::2]]
    assert teacher[1:3] == ("resnet20", None)
    assert alone[1:3] == ("resnet8", None)
    assert "teacher" not in alone[3]
    assert {(model, method) for _, model, method, _ in taught} == {("resnet8", "kd")}
    assert {keys["teacher"] for *_, keys in taught} == {str(tmp_path / "out" / "teacher")}
    assert "| cached fp16 | 50.00" in (tmp_path / "out" / "study.md").read_text(encoding="utf-8")
