"""Code and texts use the field's words: models output, losses require, names are nouns and functions are verbs."""

import ast
import io
import re
import tokenize
from pathlib import Path

import tutelage

ROOT = Path(tutelage.__file__).parent
PROJECT = Path(__file__).parents[1]
SOURCES = {path: path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}
PAGES = [*sorted((PROJECT / "docs").glob("*.md")), PROJECT / "README.md", PROJECT / "ARCHITECTURE.md"]
NAMES = (  # noqa: SIM905
    "said told asks asked asking heard hear hears spoken pupil look looks undisturbed peek hollow arranged lots "
    "rehearse rehearsing rehearsed truths bare tapped Tapped Look Making Networks Given Wish Quiz Virtual Aside Weighed"
).split()
"""Names that code no longer has."""

PHRASES = re.compile(
    r"\b(as many of each|so manieth|speaks for|the (?:network|student|teacher|model) says|what it says"
    r"|says|said|told|asks|asked|hears?|heard|anew|whom|nobody|somebody)\b"
)
"""Words of speech, and phrases that practitioners don't use."""

BEGINNINGS = re.compile(r"\s*(?:What|Whether|How|Those|Who|Whose|Never|None|Nothing|The same|Every\w*)\b")
"""Beginnings of docstrings that have no subject and verb."""


def strings(source: str) -> list[ast.Constant]:
    nodes = ast.walk(ast.parse(source))
    return [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def docstrings(source: str) -> list[str]:
    """Return the docstrings of a file, also those below assignments."""
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Expr)]
    values = [node.value.value for node in statements if isinstance(node.value, ast.Constant)]
    return [value for value in values if isinstance(value, str)]


def test_no_old_name_is_back():
    names = {
        f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}"
        for path, source in SOURCES.items()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.NAME and token.string in NAMES
    }
    assert names == set()


def test_docstrings_begin_with_a_noun_or_a_verb():
    beginnings = {
        f"{path.relative_to(ROOT)}: {text.splitlines()[0]}"
        for path, source in SOURCES.items()
        for text in docstrings(source)
        if BEGINNINGS.match(text)
    }
    assert beginnings == set()


def test_docstrings_and_messages_have_no_word_of_speech():
    texts = {
        f"{path.relative_to(ROOT)}:{node.lineno}: {match.group()}"
        for path, source in SOURCES.items()
        for node in strings(source)
        if (match := PHRASES.search(re.sub(r"`[^`]*`", "", node.value)))
    }
    assert texts == set()


def test_pages_have_no_word_of_speech():
    lines = {
        f"{page.name}: {match.group()}"
        for page in PAGES
        for match in PHRASES.finditer(page.read_text(encoding="utf-8"))
    }
    assert lines == set()
