"""Show one part in full: summary, formula, shapes, paper, options."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any

import typer
import yaml

from tutelage import recipes
from tutelage.config import methods
from tutelage.errors import ConfigError, unknown
from tutelage.study import protocols
from tutelage.study.protocols.protocol import StudyProtocol
from tutelage.utils import registry

app = typer.Typer(add_completion=False)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A loss, teacher, scheme, task, recipe or protocol.")],
) -> None:
    """Show the summary, formula, shapes, paper, options with defaults, and weight of one part.

    Example: tutelage show dkd
    """
    from tutelage.utils.console import print_lines, print_table

    shown = False  # a recipe may have the name of its loss
    for package, kind in registry.KINDS.items():
        if registry.is_known(package, name):
            entry = registry.find_entry(package, name)
            part = entry.load()
            print_lines(
                f"{entry.name}: a {kind}, tutelage.{part.__name__}",
                "",
                *(inspect.getdoc(part) or "").splitlines(),
            )
            if rows := _scheme_options(part) if package == "schemes" else _options(part):
                print_lines("")
                print_table("Options", ("option", "default", "type"), rows)
            if package == "losses":
                print_lines("", *_traits(entry, part))
            shown = True
    if recipes.has(name):
        print_lines(f"{name}: a recipe", "", *recipes.text(name).splitlines(), "", "Keys that it sets:", "")
        print_lines(*yaml.safe_dump(recipes.load(name), sort_keys=False).splitlines())
        shown = True
    if protocols.has(name):
        _show_protocol(protocols.find(name))
        shown = True
    if shown:
        return
    known = [entry for package in registry.KINDS for entry in registry.catalogue(package)]
    raise ConfigError(unknown("part", name, [*known, *recipes.names(), *protocols.names()], "tutelage list"))


def _show_protocol(protocol: StudyProtocol) -> None:
    """Print a protocol's keys, what differs from the published code, and its figures by pair and method."""
    from tutelage.utils.console import print_lines, print_table

    keys = {"keys": protocol.keys, "keys of networks": protocol.networks, "methods": protocol.methods}
    print_lines(f"{protocol.name}: a protocol of studies", "", protocol.summary, f"Paper: {protocol.paper}", "")
    print_lines(*yaml.safe_dump({name: plain for name, plain in keys.items() if plain}, sort_keys=False).splitlines())
    if protocol.differences:
        print_lines("", "What differs from the published code:", *(f"- {text}" for text in protocol.differences))
    rows = [
        (teacher or "–", student, method, f"{100 * figure.value:.2f}", str(figure.source))
        for (teacher, student), figures in protocol.figures.items()
        for method, figure in figures.items()
    ]
    if rows:
        print_lines("")
        print_table("Published figures", ("teacher", "student", "method", "figure, %", "source"), rows)


def _scheme_options(scheme: Any) -> list[tuple[str, str, str]]:
    """The options of a scheme in a configuration, {name: …, …options}, as (name, default, type)."""
    options = [*inspect.signature(scheme.from_context).parameters.values()][1:]
    return [(p.name, repr(p.default), str(p.annotation)) for p in options]


def _options(part: Any) -> list[tuple[str, str, str]]:
    """The fields of a loss, or the parameters of another part's constructor, as (name, default, type)."""
    if is_dataclass(part):
        return [(f.name, "required" if f.default is MISSING else repr(f.default), str(f.type)) for f in fields(part)]
    options = [
        p for p in inspect.signature(part.__init__).parameters.values() if p.name not in ("self", "args", "kwargs")
    ]
    return [(p.name, "required" if p.default is p.empty else repr(p.default), str(p.annotation)) for p in options]


def _traits(entry: registry.CatalogueEntry, loss: Any) -> list[str]:
    inputs = ", ".join(loss.required_inputs()) or "nothing"
    return [
        f"paper: {loss.paper}",
        *([f"verified against: {entry.backing}"] if entry.backing else []),
        f"weight: {loss.default_weight:g}, with weight {loss.task_loss_weight:g} of the task loss",
        f"compares: {loss.compares}"
        + (f" as {loss.feature_format}s" if loss.feature_format else "")
        + f"; requires of the batch: {inputs}",
        *([f"connector: {loss.connector}"] if loss.connector else []),
        *([f"ignores: {', '.join(loss.ignores)}"] if loss.ignores else []),
        f"method={entry.name}: {methods.method_support(entry)}; in Python: {loss.__name__}()",
    ]
