"""A teacher's answers on disk: build them ahead, look into them, check them, clean up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tutelage.cli.arguments import KeyValueCommand, Words, read

app = typer.Typer(add_completion=False, no_args_is_help=True)

BUILD = """Ask the teacher about every view of every training sample, as runs with the same words and cache=true would.

A build that was interrupted goes on; several processes may build one cache together.

Examples:

  tutelage cache build teacher=runs/big student=resnet8 data=folder:photos method=dkd views=8

  torchrun --nproc-per-node 4 -m tutelage cache build study.yaml devices=4

  tutelage cache build study.yaml engine=ray

engine=ray: by the GPUs of a Ray cluster, or else by its CPUs; RAY_ADDRESS says which cluster, none is this machine.
"""


@app.callback()
def cache() -> None:
    """A teacher's answers on disk: build them ahead, look into them, check them, clean up.

    Runs with cache=true build and read theirs by themselves; see `tutelage cache build --help`.

    Example: tutelage cache info caches/digits-0123456789ab
    """


@app.command(cls=KeyValueCommand, help=BUILD)
def build(words: Words = None) -> None:
    """Build what isn't there yet."""
    engines = [word.partition("=")[2] for word in words or [] if word.startswith("engine=")]
    config = read([word for word in words or [] if not word.startswith("engine=")])
    from tutelage.api import build_cache
    from tutelage.utils.console import say

    keys = config.model_dump() | {"cache": config.cache or True}
    for folder, view in build_cache(engine=(engines or ["processes"])[-1], **keys):
        say(f"{folder}: view {view} is there")


Folder = Annotated[Path, typer.Argument(help="A cache's folder.")]


@app.command()
def info(folder: Folder) -> None:
    """What a cache holds, how much of it is there, its bytes, and what its storage changed.

    Example: tutelage cache info caches/digits-0123456789ab
    """
    from tutelage.cache.manifest import read as read_manifest
    from tutelage.utils.console import number, say, table

    found = read_manifest(folder)
    size = sum((folder / name).stat().st_size for name in found.shards if (folder / name).exists())
    say(f"{number(found.samples)} samples, {found.views} views, {number(size)} bytes")
    for name, value in found.about.items():
        say(f"{name}: {value}")
    rows = []
    for name, tap in found.taps.items():
        there = sum(found.complete(view, name) for view in range(found.views))
        changed = ", ".join(f"{what} {value:.3g}" for what, value in found.error[name].items())
        rows.append((name, "×".join(map(str, tap.shape)), tap.storage, f"{there} of {found.views}", changed))
    table("", ("what", "shape", "storage", "views there", "changed by storing"), rows)


@app.command()
def verify(folder: Folder) -> None:
    """Check every shard's bytes against the manifest; exit code 1 if one is missing, torn or altered.

    Example: tutelage cache verify caches/digits-0123456789ab
    """
    from tutelage.cache.store import broken
    from tutelage.utils.console import say

    faults = broken(folder)
    for fault in faults.values():
        say(fault)
    say(f"{len(faults)} of its shards are broken" if faults else "every shard is whole")
    raise typer.Exit(1 if faults else 0)


@app.command()
def prune(folder: Folder) -> None:
    """Remove what is broken or belongs to no manifest, so that the next run builds it again.

    Example: tutelage cache prune caches/digits-0123456789ab
    """
    from tutelage.cache.store import prune as removed
    from tutelage.utils.console import say

    for name in (names := removed(folder)):
        say(f"removed {name}")
    say(f"{len(names)} files removed")
