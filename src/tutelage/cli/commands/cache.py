"""Build, inspect, verify and prune caches of a teacher's outputs on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tutelage.cli.arguments import Arguments, KeyValueCommand, read_config

app = typer.Typer(add_completion=False, no_args_is_help=True)

BUILD = """Store a teacher's outputs for all views of the training samples, for runs with these keys and cache=true.

An interrupted build continues when it is run again; several processes can build one cache together.

Examples:

  tutelage cache build teacher=runs/big student=resnet8 data=folder:photos method=dkd views=8

  torchrun --nproc-per-node 4 -m tutelage cache build study.yaml devices=4

  tutelage cache build study.yaml engine=ray

engine=ray builds on a Ray cluster's GPUs, or else its CPUs; RAY_ADDRESS selects the cluster (default: this machine).
"""


@app.callback()
def cache() -> None:
    """Build, inspect, verify and prune caches of a teacher's outputs on disk.

    Runs with cache=true build and read their cache automatically; see `tutelage cache build --help`.

    Example: tutelage cache info caches/digits-0123456789ab
    """


@app.command(cls=KeyValueCommand, help=BUILD)
def build(arguments: Arguments = None) -> None:
    """Build the parts of a cache that are missing."""
    engines = [arg.partition("=")[2] for arg in arguments or [] if arg.startswith("engine=")]
    config = read_config([arg for arg in arguments or [] if not arg.startswith("engine=")])
    from tutelage.api import build_cache
    from tutelage.utils.console import print_lines

    keys = config.model_dump() | {"cache": config.cache or True}
    for folder, view in build_cache(engine=(engines or ["processes"])[-1], **keys):
        print_lines(f"{folder}: view {view} is complete")


Folder = Annotated[Path, typer.Argument(help="The folder of a cache.")]


@app.command()
def info(folder: Folder) -> None:
    """Show the contents of a cache, how much of it is complete, its size, and the errors of its storage format.

    Example: tutelage cache info caches/digits-0123456789ab
    """
    from tutelage.cache.manifest import read_manifest as read_manifest
    from tutelage.utils.console import format_number, print_lines, print_table

    manifest = read_manifest(folder)
    size = sum((folder / name).stat().st_size for name in manifest.shards if (folder / name).exists())
    print_lines(f"{format_number(manifest.samples)} samples, {manifest.views} views, {format_number(size)} bytes")
    for name, value in manifest.about.items():
        print_lines(f"{name}: {value}")
    rows = []
    for name, tensor in manifest.tensors.items():
        complete = sum(manifest.is_complete(view, name) for view in range(manifest.views))
        errors = ", ".join(f"{measure} {value:.3g}" for measure, value in manifest.error[name].items())
        rows.append((name, "×".join(map(str, tensor.shape)), tensor.storage, f"{complete} of {manifest.views}", errors))
    print_table("", ("output", "shape", "storage", "views complete", "storage error"), rows)


@app.command()
def verify(folder: Folder) -> None:
    """Check every shard against its checksum in the manifest; exit code 1 if one is missing, torn or altered.

    Example: tutelage cache verify caches/digits-0123456789ab
    """
    from tutelage.cache.store import find_broken_shards
    from tutelage.utils.console import print_lines

    faults = find_broken_shards(folder)
    for fault in faults.values():
        print_lines(fault)
    print_lines(f"{len(faults)} shards are broken" if faults else "every shard is intact")
    raise typer.Exit(1 if faults else 0)


@app.command()
def prune(folder: Folder) -> None:
    """Remove shards that are broken or not in the manifest; the next run builds them again.

    Example: tutelage cache prune caches/digits-0123456789ab
    """
    from tutelage.cache.store import prune as remove_broken
    from tutelage.utils.console import print_lines

    for name in (names := remove_broken(folder)):
        print_lines(f"removed {name}")
    print_lines(f"{len(names)} files removed")
