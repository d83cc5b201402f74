"""The folder is the registry: the classes of a package's files are found by name, without a list to edit.

Names and summaries are read from the source, so that listing imports nothing heavy. Other packages join by entry point.
"""

from __future__ import annotations

import ast
import importlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata, util
from pathlib import Path
from types import ModuleType
from typing import Any

from tutelage.errors import ConfigError, unknown

UNCOMPARED = "No published numbers were compared."
"""The sentence in the docstring of a loss that was compared with the paper's formula alone."""

KINDS = {"losses": "loss", "teachers": "teacher", "schemes": "scheme", "tasks": "task", "policies": "policy"}


@dataclass(frozen=True)
class CatalogueEntry:
    """One class of a catalogue: its module, the first line of its docstring, and its paper.

    A loss has in addition `backing`, the reference for its values and gradients, and its class's list_inputs, only_for,
    response_kinds and needs_teacher; a teacher has follows_student; a task has positions.
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
    response_kinds: tuple[str, ...] = ("classes",)
    needs_teacher: bool = True
    follows_student: bool = False
    positions: int = 0

    def load(self) -> Any:
        """Import the class."""
        return getattr(importlib.import_module(self.module), self.class_name)


def to_catalogue_name(class_name: str) -> str:
    """Return the catalogue's name of a class: lower case, an underscore after an acronym.

    >>> to_catalogue_name("KD"), to_catalogue_name("FitNet"), to_catalogue_name("RKDDistance")
    ('kd', 'fitnet', 'rkd_distance')
    """
    return re.sub(r"(?<=[A-Z])(?=[A-Z][a-z])", "_", class_name).lower()


def catalogue_name(kind: type) -> str:
    """Return a class's name in its catalogue: its attribute `name`, or one made from the class name."""
    return vars(kind).get("name") or to_catalogue_name(kind.__name__)


@cache
def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).lower()


Classes = dict[ast.ClassDef, set[str]]
"""The classes that a file defines, each with the names of its bases."""


def _classes(path: Path) -> Classes:
    """Parse a file; return its classes."""
    return {
        node: {base.id if isinstance(base, ast.Name) else getattr(base, "attr", "") for base in node.bases}
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }


def _bases(classes: Classes) -> dict[str, set[str]]:
    """Return the names of each class's bases, by the class's name."""
    return {node.name: bases for node, bases in classes.items()}


def _root(package: str) -> Path:
    return Path(__file__).parents[1] / package


def _derives(name: str, bases: dict[str, set[str]], abstract: set[str]) -> bool:
    """Return whether a class inherits, directly or not, from one of the package's abstract classes."""
    return name in abstract or any(_derives(base, bases, abstract) for base in bases.get(name, ()))


def _literal(node: ast.ClassDef, name: str, default: Any = "") -> Any:
    """Return the literal that the class's body assigns to a name."""
    for item in node.body:
        if isinstance(item, ast.Assign | ast.AnnAssign) and isinstance(item.value, ast.Constant | ast.Tuple):
            target = item.targets[0] if isinstance(item, ast.Assign) else item.target
            if isinstance(target, ast.Name) and target.id == name:
                return ast.literal_eval(item.value)
    return default


def _entry(kind: str, module: str, group: str, node: ast.ClassDef) -> CatalogueEntry:
    """Return the entry of a class, from its source."""
    doc = ast.get_docstring(node) or ""
    name = _literal(node, "name") or to_catalogue_name(node.name)
    texts = doc.partition("\n")[0], _literal(node, "paper"), _backing(kind, module, doc)
    kinds = _literal(node, "response_kinds", ("classes",))
    traits = _literal(node, "list_inputs", ()), _literal(node, "only_for"), kinds, _literal(node, "needs_teacher", True)
    follows = bool(_literal(node, "follows_student", False))
    positions = int(_literal(node, "positions", 0))
    return CatalogueEntry(name, kind, group, module, node.name, *texts, *traits, follows, positions)


def _is_hidden(node: ast.ClassDef) -> bool:
    """Return whether a class is private or abstract; the docstring of an abstract one begins with "Abstract"."""
    return node.name.startswith("_") or (ast.get_docstring(node) or "").startswith("Abstract")


def _backing(kind: str, module: str, doc: str) -> str:
    if kind != "loss" or module.partition(".")[0] != "tutelage":
        return ""
    return "the paper's formula" if UNCOMPARED in " ".join(doc.split()) else "published numbers"


@cache
def catalogue(package: str) -> dict[str, CatalogueEntry]:
    """Return the classes of `losses`, `teachers`, `schemes`, `tasks` or `policies`, also other packages', by name."""
    root = _root(package)
    own_files = {
        ".".join(("tutelage", package, *path.relative_to(root).with_suffix("").parts)): path
        for path in sorted(root.rglob("*.py"))
        if path.stem not in ("base", "__init__")
    }
    files = own_files | {plugin.module: plugin.path for plugin in plugins(package).values()}
    parsed = {module: _classes(path) for module, path in files.items()}  # each file once
    abstract = set(_bases(_classes(root / "base.py")))
    shared = {name: bases for module in own_files for name, bases in _bases(parsed[module]).items()}
    entries = [
        _entry(KINDS[package], module, files[module].parent.name, node)
        for module, classes in parsed.items()
        for known in [shared | _bases(classes)]
        for node, bases in classes.items()
        if not _is_hidden(node) and any(_derives(base, known, abstract) for base in bases)
    ]
    return {entry.name: entry for entry in sorted(entries, key=lambda e: e.name)}


@dataclass(frozen=True)
class Plugin:
    """A module of another package that joins a catalogue by entry point."""

    module: str
    path: Path

    def load(self) -> ModuleType:
        """Import the module."""
        return importlib.import_module(self.module)


@cache
def plugins(package: str) -> dict[str, Plugin]:
    """Return the modules that other packages add to a catalogue, by the entry points' names (group `tutelage.PACKAGE`).

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


def is_known(package: str, name: str) -> bool:
    """Return whether the catalogue has an entry of that name."""
    return _lookup(package, name) is not None


def find_entry(package: str, name: str) -> CatalogueEntry:
    """Return the entry of that name; case, `-` and `_` don't matter.

    Raises: ConfigError with near names.
    """
    if (entry := _lookup(package, name)) is None:
        raise ConfigError(unknown(KINDS[package], name, catalogue(package), f"tutelage list {package}"))
    return entry


def _lookup(package: str, name: str) -> CatalogueEntry | None:
    entries = catalogue(package)
    near = (entry for known, entry in entries.items() if _plain(known) == _plain(name))
    return entries.get(name) or next(near, None)
