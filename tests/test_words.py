"""Code and texts use the field's words: models output, losses require, names are nouns and functions are verbs."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
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
    r"\banew\b", r"\bsomebody\b", r"\btold\b", r"\bhears\b", r"\bis said\b",
    r"\bthe network says\b", r"\bthe (?:student|teacher|model) says\b", r"\bwhat it says\b",
)  # fmt: skip
"""Phrases of docstrings, messages and pages that practitioners don't use."""


FILES = {path: path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}


def test_no_old_name_is_back():
    names = {
        f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}"
        for path, text in FILES.items()
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.NAME and token.string in NAMES
    }
    assert names == set()


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Yield the docstrings of a file, also those below assignments."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            value = getattr(statement, "value", None)
            if isinstance(statement, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def test_docstrings_have_a_subject():
    """Their first line is no fused relative, and no verbless word."""
    beginnings = {
        f"{path.relative_to(ROOT)}: {text.splitlines()[0]}"
        for path, source in FILES.items()
        for text in docstrings(ast.parse(source))
        if re.match(r"(What|Whether|How|Those|Whose|Whoever|Never|None|Nothing|Nobody)\b", text)
    }
    assert beginnings == set()


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_old_phrase_is_back(phrase):
    pages = [*ROOT.rglob("*.py"), *(PROJECT / "docs").glob("*.md"), PROJECT / "README.md", PROJECT / "ARCHITECTURE.md"]
    found = {
        f"{path.relative_to(PROJECT)}: {match.group()}"
        for path in pages
        for match in re.finditer(phrase, path.read_text(encoding="utf-8"))
    }
    assert found == set()
