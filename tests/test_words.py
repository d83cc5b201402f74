"""Code and texts use the field's words: models output, losses require, names are nouns and functions are verbs."""

import io
import re
import tokenize
from pathlib import Path

import pytest

import tutelage

ROOT = Path(tutelage.__file__).parent
PROJECT = Path(__file__).parents[1]
NAMES = (  # noqa: SIM905
    "said told asks asked asking heard hear hears spoken pupil look looks undisturbed peek hollow arranged lots "
    "rehearse rehearsing rehearsed truths bare Tapped Look Making Networks Given Wish Quiz Virtual Aside Weighed"
).split()
"""Names that code no longer has."""

PHRASES = (
    r"\bas many of each\b", r"\bso manieth\b", r"\bspeaks for\b", r"\bhears? (?:it|them|what)\b", r"\bwhom\b",
    r"\bthe network says\b", r"\bthe (?:student|teacher|model) says\b", r"\bwhat it says\b",
)  # fmt: skip
"""Phrases of docstrings, messages and pages that practitioners don't use."""


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_old_name_is_back(path):
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    assert {token.string for token in tokens if token.type == tokenize.NAME} & set(NAMES) == set()


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_old_phrase_is_back(phrase):
    pages = [*ROOT.rglob("*.py"), *(PROJECT / "docs").glob("*.md"), PROJECT / "README.md", PROJECT / "ARCHITECTURE.md"]
    found = {
        f"{path.relative_to(PROJECT)}: {match.group()}"
        for path in pages
        for match in re.finditer(phrase, path.read_text(encoding="utf-8"))
    }
    assert found == set()
