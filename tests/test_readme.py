"""README and ARCHITECTURE say what is so."""

import json
import re
from pathlib import Path

import pytest

from tutelage.cli import FOLDER
from tutelage.utils import registry

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")


@pytest.mark.parametrize("name", [*DOCUMENTS, *(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(name):
    page = ROOT / name
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", prose):
        generated = name == "docs/index.md" or link.startswith(("http", "losses/"))
        assert generated or (page.parent / link).exists(), link


def test_first_screen_has_the_two_commands_and_the_picture():
    first = README.splitlines()[:14]
    assert any(line.startswith("make demo") for line in first)
    assert any(line.startswith("make test") for line in first)
    assert any("docs/images/report.png" in line for line in first)
    picture = (ROOT / "docs/images/report.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 300_000


def test_make_has_what_the_documents_name():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = {word for name in DOCUMENTS for word in re.findall(r"^make ([a-z]+)", _code(name), re.M)}
    assert {"demo", "test", "docs"} <= named <= targets


def _code(name):
    """What stands in a document's code, inline or fenced."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return "\n".join("".join(found) for found in re.findall(r"```text\n(.*?)```|`([^`\n]+)`", text, re.S))


def test_named_losses_are_in_the_catalogue():
    classes = {entry.class_name for entry in registry.catalogue("losses").values()}
    losses = re.search(r"\*\*Losses\*\*.*?`tutelage list", README, re.S).group()
    named = {word for group in re.findall(r"\(([^)]*)\)", losses) for word in re.findall(r"\w+", group)}
    assert len(named) > 8
    assert named <= classes


def test_the_tree_is_the_real_one():
    tree = re.search(r"^src/tutelage/\n(.*?)^tests/", ARCHITECTURE, re.M | re.S).group(1)
    named = {line.split()[0].rstrip("/") for line in tree.splitlines()}
    root = ROOT / "src" / "tutelage"
    real = {p.name for p in root.iterdir() if p.name not in ("__pycache__", "__init__.py", "__main__.py", "py.typed")}
    assert named == real


def test_changelog_names_every_sub_command():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert all(f"`{path.stem}`" in text or f"`tutelage {path.stem}`" in text for path in FOLDER.glob("[!_]*.py"))
    assert "## [0.1.0]" in text
    assert json.dumps("0.1.0") in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
