"""The house stays small: few rooms, short files, short bodies, and no name twice."""

import ast
from collections import Counter
from pathlib import Path
from statistics import median

import tutelage

ROOT = Path(tutelage.__file__).parent
FILES = {path: path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}
TREES = {path.relative_to(ROOT): ast.parse(text) for path, text in FILES.items()}


def bodies():
    """(lines, place) of every function, without its signature and its docstring."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                yield (body[-1].end_lineno - body[0].lineno + 1 if body else 0), f"{path}:{node.lineno} {node.name}"


def test_there_are_at_most_26_rooms_at_the_top():
    rooms = [p for p in ROOT.iterdir() if p.name != "__pycache__" and (p.is_dir() or p.suffix == ".py")]
    assert len(rooms) <= 26, sorted(p.name for p in rooms)


def test_no_file_passes_400_lines():
    assert {str(path.relative_to(ROOT)) for path, text in FILES.items() if text.count("\n") > 400} == set()


def test_bodies_are_short():
    lengths = list(bodies())
    assert [place for length, place in lengths if length > 40] == []
    assert median(length for length, _ in lengths) <= 4


def test_no_class_has_the_name_of_another():
    names = Counter(node.name for tree in TREES.values() for node in tree.body if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []
