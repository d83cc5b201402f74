"""Code and texts use the field's words: models output, losses require, names are nouns and functions are verbs."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

import tutelage

ROOT = Path(tutelage.__file__).parent
PROJECT = Path(__file__).parents[1]
PAGES = [*sorted((PROJECT / "docs").glob("*.md")), PROJECT / "README.md", PROJECT / "ARCHITECTURE.md"]
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

RELATIVE = re.compile(r"\s*(?:What|Whether|How|Those|Who|Whose|Never|None|Nothing|The same|Every\w*)\b")
"""Beginnings of docstrings that have no subject and verb."""

SPEECH = re.compile(r"\b(?:says|said|told|asks|asked|hears?|heard|anew|whom|nobody)\b")
"""Words of speech, and words that practitioners don't use."""

KEPT = {"said"}
"""Strings that are keys of stored files."""


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_old_name_is_back(path):
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    assert {token.string for token in tokens if token.type == tokenize.NAME} & set(NAMES) == set()


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_old_phrase_is_back(phrase):
    pages = [*ROOT.rglob("*.py"), *PAGES]
    found = {
        f"{path.relative_to(PROJECT)}: {match.group()}"
        for path in pages
        for match in re.finditer(phrase, path.read_text(encoding="utf-8"))
    }
    assert found == set()


def _strings(path: Path) -> list[ast.Constant]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_begin_with_a_noun_or_a_verb(path):
    statements = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Expr)]
    docstrings = [node.value.value for node in statements if isinstance(node.value, ast.Constant)]
    assert [text for text in docstrings if isinstance(text, str) and RELATIVE.match(text)] == []


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_and_messages_have_no_word_of_speech(path):
    prose = [re.sub(r"`[^`]*`", "", node.value) for node in _strings(path) if node.value not in KEPT]
    assert [text for text in prose if SPEECH.search(text)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_have_no_word_of_speech(path):
    assert [line for line in path.read_text(encoding="utf-8").splitlines() if SPEECH.search(line)] == []
