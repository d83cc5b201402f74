"""A new loss is one new file and its test, and nothing else is edited."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tutelage.cli import app

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the sources and of the tests that run over the catalogue."""
    for part in ("src", "tests/losses", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / part, tmp_path / part)
    return tmp_path


def run(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the copy, with the copy's sources."""
    env = os.environ | {"PYTHONPATH": str(checkout / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=checkout, env=env, capture_output=True, text=True, check=False
    )


def test_a_completed_loss_passes_the_catalogues_tests(checkout: Path) -> None:
    done = run(checkout, "-m", "tutelage", "new", "loss", "HalfKD")
    assert done.returncode == 0, done.stderr
    source = checkout / "src/tutelage/losses/response/halfkd.py"
    assert done.stdout.split() == [
        str(source.relative_to(checkout)),
        f"tests/losses/response/test_{source.stem}.py",
    ]
    test = checkout / "tests/losses/response" / f"test_{source.stem}.py"
    filled = source.read_text().replace("(student - teacher).pow(2)", "(student - teacher).abs()")
    source.write_text(filled)
    wrong = run(checkout, "-m", "pytest", "-p", "no:cacheprovider", str(test))
    assert wrong.returncode == 1, "the test fails for another formula"
    test.write_text(test.read_text().replace("(s - t) ** 2", "abs(s - t)"))
    tests = [str(test), "tests/losses/test_properties.py", "-k", f"{source.stem} or HalfKD or paper"]
    done = run(checkout, "-m", "pytest", "-p", "no:cacheprovider", *tests)
    assert done.returncode == 0, done.stdout[-2000:]
    assert " passed" in done.stdout
    assert int(done.stdout.split(" passed")[0].split()[-1]) > 5, "the property tests ran on it"
    shown = run(checkout, "-m", "tutelage", "show", source.stem)
    assert "Match … of the teacher" in shown.stdout


@pytest.mark.parametrize("arguments", [["kd"], ["KD"], ["2KD"], ["My-KD"], ["MyKD", "--kind", "respnse"]])
def test_invalid_names_are_refused(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["new", "loss", *arguments])
    assert done.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_outside_a_checkout_it_prints_the_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["new", "loss", "OwnKD", "--kind", "feature"])
    assert done.exit_code == 0
    assert 'entry-points."tutelage.losses"' in done.stdout
    assert len(list(tmp_path.iterdir())) == 2
    second = CliRunner().invoke(app, ["new", "loss", "OwnKD"])
    assert second.exit_code == 2
    assert "exists already" in second.stderr
