"""A package of another author, as pip would install it: modules that join the catalogues by entry point."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tutelage.data import loading
from tutelage.utils import registry

CACHES = (registry.catalogue, registry.plugins, loading._sources)


@contextmanager
def installed(package: str, modules: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Install a package in a folder, which becomes the working directory.

    Args:
        package: the package's name, which its modules' names begin with.
        modules: the source of the module that each entry point names; an entry point is written "group.name".
        folder: the folder.
    """
    points = ""
    for point, source in modules.items():
        group, name = point.split(".")
        (folder / f"{package}_{group}.py").write_text(textwrap.dedent(source).lstrip())
        points += f"[tutelage.{group}]\n{name} = {package}_{group}\n"
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.chdir(folder)
        _forget(package)
        yield
    _forget(package)


def _forget(package: str) -> None:
    importlib.invalidate_caches()
    for cache in CACHES:
        cache.cache_clear()
    for module in [name for name in sys.modules if name.startswith(f"{package}_")]:
        del sys.modules[module]
