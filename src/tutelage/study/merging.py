"""Studies of several machines in one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tutelage.config import parsing, schema
from tutelage.errors import ConfigError
from tutelage.study.settings import FILE, LISTS, StudySettings
from tutelage.study.store import Store
from tutelage.study.trial import ENDED
from tutelage.utils.files import write_text


def merge(folders: Sequence[Path], out: Path) -> Store:
    """Copy the finished trials of several studies with the same keys into a new one; return its store.

    Raises: ConfigError if the studies' keys differ, or the folder isn't empty.
    """
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"out={out} exists already and isn't empty: choose another folder.")
    sources = [Store.open(folder) for folder in folders]
    for source in sources[1:]:
        for name in ("keys", "threads", "protocol"):
            if source.get(name) != sources[0].get(name):
                raise ConfigError(
                    f"{source.folder} and {sources[0].folder} have different {name}: their rows aren't comparable."
                )
    kinds = schema.key_types() | schema.key_types(StudySettings)
    recorded = [parsing.read_file(source.folder / FILE, kinds) for source in sources]
    merged = recorded[0] | {"out": str(out), "seeds": max(each["seeds"] for each in recorded)}
    merged |= {key: [*{repr(x): x for each in recorded for x in each.get(key, [])}.values()] for key in LISTS}
    target = Store(out)
    for name in ("keys", "threads", "protocol", "versions"):
        target.set_default(name, sources[0].get(name))
    for source in sources:
        _copy(source, target)
    write_text(out / FILE, parsing.dump(merged))
    return target


def _copy(source: Store, target: Store) -> None:
    """Copy the trials that have ended and aren't in the target, with their folders."""
    there = {name: stored.state for name, stored in target.trials().items()}
    for name, stored in source.trials().items():
        target.add([stored.trial])
        if stored.state not in ENDED or there.get(name) in ENDED:
            continue
        if (source.folder / stored.folder).is_dir():
            shutil.copytree(source.folder / stored.folder, target.folder / stored.folder)
        target.end(name, stored.state, stored.reason, stored.seconds, stored.result)
