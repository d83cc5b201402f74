"""The folder is the registry: what a package's files define can be found by name, without a list to edit.

Names and summaries are read from the source, so that listing imports nothing heavy. Other packages join by entry point.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata, util
from pathlib import Path
from types import ModuleType
from typing import Any

from tutelage.errors import ConfigError, unknown

UNCOMPARED = "No published numbers were compared."
"""What a loss's docstring says where its numbers were compared with the paper's formula alone."""

KINDS = {"losses": "loss", "teachers": "teacher", "schemes": "scheme", "tasks": "task", "policies": "policy"}


@dataclass(frozen=True)
class Entry:
    """One class of a catalogue: where it is, what its docstring begins with, its paper if it says one.

    Of a loss: backing, what its values and gradients are held to; list_inputs, only_for and needs_teacher, as its class
    has them. Of a teacher: follows_student.
    """

    name: str
    kind: str
    group: str
    module: str
    class_name: str
    summary: str
    paper: str = ""
    backing: str = ""
    list_inputs: tuple[str, ...] = ()
    only_for: str = ""
    needs_teacher: bool = True
    follows_student: bool = False

    def load(self) -> Any:
        """Import it."""
        return getattr(importlib.import_module(self.module), self.class_name)


def name_of(class_name: str) -> str:
    """The catalogue's name of a class: lower case, an underscore after an acronym.

    >>> name_of("KD"), name_of("FitNet"), name_of("RKDDistance")
    ('kd', 'fitnet', 'rkd_distance')
    """
    return re.sub(r"(?<=[A-Z])(?=[A-Z][a-z])", "_", class_name).lower()


def catalogue_name(result: type) -> str:
    """A class's name in its catalogue: the one that it gives itself, or that of its class name."""
    return vars(result).get("name") or name_of(result.__name__)


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).lower()


def _classes(path: Path) -> Iterator[tuple[ast.ClassDef, set[str]]]:
    """The classes that a file defines, each with the names of its bases."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            yield node, {base.id if isinstance(base, ast.Name) else getattr(base, "attr", "") for base in node.bases}


@cache
def _bases(package: str) -> dict[str, set[str]]:
    """The bases of every class of a package, by the classes' names."""
    return {node.name: bases for path in sorted(_root(package).rglob("*.py")) for node, bases in _classes(path)}


def _root(package: str) -> Path:
    return Path(__file__).parents[1] / package


def _derives(name: str, bases: dict[str, set[str]], abstract: set[str]) -> bool:
    """Whether a class inherits, at any distance, from one of the package's abstract classes."""
    return name in abstract or any(_derives(base, bases, abstract) for base in bases.get(name, ()))


def _literal(node: ast.ClassDef, name: str, default: Any = "") -> Any:
    """The literal that the class's body gives that name."""
    for item in node.body:
        if isinstance(item, ast.Assign | ast.AnnAssign) and isinstance(item.value, ast.Constant | ast.Tuple):
            target = item.targets[0] if isinstance(item, ast.Assign) else item.target
            if isinstance(target, ast.Name) and target.id == name:
                return ast.literal_eval(item.value)
    return default


def _entries(package: str, module: str, path: Path) -> Iterator[Entry]:
    """The catalogue's classes in a file: those that derive from its package's `base.py` and aren't abstract."""
    abstract = {node.name for node, _ in _classes(_root(package) / "base.py")}
    own = list(_classes(path))
    bases = _bases(package) | {node.name: names for node, names in own}
    kind, group = KINDS[package], path.parent.name
    for node, names in own:
        doc = ast.get_docstring(node) or ""
        hidden = node.name.startswith("_") or doc.startswith("Abstract")
        if hidden or not any(_derives(base, bases, abstract) for base in names):
            continue
        name = _literal(node, "name") or name_of(node.name)
        what = doc.partition("\n")[0], _literal(node, "paper"), _backing(kind, module, doc)
        ways = _literal(node, "list_inputs", ()), _literal(node, "only_for"), _literal(node, "needs_teacher", True)
        follows = bool(_literal(node, "follows_student", False))
        yield Entry(name, kind, group, module, node.name, *what, *ways, follows)


def _backing(kind: str, module: str, doc: str) -> str:
    if kind != "loss" or module.partition(".")[0] != "tutelage":
        return ""
    return "the paper's formula" if UNCOMPARED in " ".join(doc.split()) else "published numbers"


@cache
def catalogue(package: str) -> dict[str, Entry]:
    """Every class of `losses`, `teachers`, `schemes`, `tasks` or `policies`, ours and other packages', by name."""
    root, result = _root(package), list[Entry]()
    for path in sorted(root.rglob("*.py")):
        if path.stem not in ("base", "__init__"):
            result += _entries(
                package, ".".join(("tutelage", package, *path.relative_to(root).with_suffix("").parts)), path
            )
    for plugin in plugins(package).values():
        result += _entries(package, plugin.module, plugin.path)
    return {entry.name: entry for entry in sorted(result, key=lambda e: e.name)}


@dataclass(frozen=True)
class Plugin:
    """A module of another package that joins one of ours by entry point."""

    module: str
    path: Path

    def load(self) -> ModuleType:
        """Import it."""
        return importlib.import_module(self.module)


@cache
def plugins(package: str) -> dict[str, Plugin]:
    """The modules that other packages add to one of ours, by the entry points' names (group `tutelage.PACKAGE`).

    Raises: ConfigError if a module isn't there.
    """
    result = {}
    for point in metadata.entry_points(group=f"tutelage.{package}"):
        spec = util.find_spec(point.value)
        if spec is None or spec.origin is None:
            raise ConfigError(
                f"entry point {point.name!r} of {point.group} names module {point.value!r}, which isn't there; "
                "reinstall the package that brought it."
            )
        result[point.name] = Plugin(point.value, Path(spec.origin))
    return result


def has(package: str, name: str) -> bool:
    """Whether there is one of that name."""
    return any(_plain(known) == _plain(name) for known in catalogue(package))


def find(package: str, name: str) -> Entry:
    """The entry of that name; case, `-` and `_` don't matter.

    Raises: ConfigError with near names.
    """
    entries = catalogue(package)
    for entry in entries.values():
        if _plain(entry.name) == _plain(name):
            return entry
    raise ConfigError(unknown(KINDS[package], name, entries, f"tutelage list {package}"))
