"""Pages that are written from the code when the site is built: losses, keys of the configuration, sub-commands."""

from __future__ import annotations

import inspect
import json
import re
import types
import typing
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import formulas
import loss_examples
import torch
import yaml

from tutelage import recipes
from tutelage.config.schema import Config
from tutelage.losses.base import Loss
from tutelage.settings import TrainerSettings
from tutelage.utils import registry

GROUPS = {
    "response": "Responses: what the models answer",
    "feature": "Features: what lies in the layers",
    "relation": "Relations: how the samples of a batch lie to each other",
    "dense": "Dense: maps of answers",
    "multi_teacher": "Several teachers",
    "online": "Peers",
    "regression": "Regression",
}


STUDIES = ("tier1.md", "eurosat.md")
RESULTS = Path(__file__).parents[1] / "bench" / "results"
COSTS = RESULTS / "losses.json"
MEASURED = {
    "who.json": "",
    "gap.json": ", a resnet56 teaches",
    "gap_small.json": ", a cnn64 teaches, 12 epochs, 5 seeds",
}


def write(docs: Path) -> None:
    """Write docs/losses/*.md, and the tables that other pages include, under docs/_build/generated."""
    losses, tables = docs / "losses", docs / "_build" / "generated"
    for folder in (losses, tables):
        folder.mkdir(parents=True, exist_ok=True)
    entries = registry.catalogue("losses")
    for stale in {path.stem for path in losses.glob("*.md")} - {*entries, "index"}:
        (losses / f"{stale}.md").unlink()
    for name, entry in entries.items():
        _keep(losses / f"{name}.md", loss_page(entry))
    _keep(losses / "index.md", overview())
    _keep(tables / "configuration.md", configuration())
    _keep(tables / "commands.md", commands())
    _keep(tables / "policies.md", policies())
    _keep(tables / "parts.md", parts())
    _keep(tables / "recipes.md", recipe_sections())


def _keep(path: Path, text: str) -> None:
    """Write what changed only, so that Sphinx builds what changed only."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def plain(text: str) -> str:
    """Text in which Markdown finds no markup."""
    return re.sub(r"([\\*_<>\[\]|$`])", r"\\\1", text)


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


# the losses


def sections(doc: str) -> dict[str, str]:
    """A loss's docstring by parts: "summary", "formula", and what begins with Shapes:, Paper:, Raises:."""
    summary, _, rest = (doc or "").partition("\n\n")
    found = {"summary": " ".join(summary.split()), "formula": "", "Shapes": "", "Paper": "", "Raises": ""}
    part = "formula"
    for line in rest.splitlines():
        label, colon, text = line.strip().partition(":")
        if colon and label in found:
            part, line = label, text
        found[part] += line.strip() + "\n"
    return {name: text.strip() for name, text in found.items()}


def explained(doc: str | None) -> str:
    """A docstring as Markdown: its summary, its formulas, and its labelled parts."""
    said = sections(inspect.cleandoc(doc or ""))
    lines = "\n\n".join(map(formulas.markdown, formulas.statements(said["formula"]))) if said["formula"] else ""
    framed = f":::{{container}} formula\n{lines}\n:::\n\n" if lines else ""
    labelled = [part for part in ("Shapes", "Paper", "Raises") if said[part]]
    others = "".join(f"**{part}.** {formulas.escape(' '.join(said[part].split()))}\n\n" for part in labelled)
    return f"{formulas.escape(said['summary'])}\n\n{framed}{others}"


def loss_page(entry: registry.Entry) -> str:
    """The page of one loss."""
    loss = entry.load()
    options = [[f"`{f.name}`", f"`{_default(f)}`", f"`{f.type}`"] for f in fields(loss)]
    return (
        f"# {loss.__name__}\n\n{explained(loss.__doc__)}"
        + (table(["option", "default", "type"], options) + "\n" if options else "")
        + table(["fact", ""], [*facts(loss), ["held to", entry.backing]])
        + f"\nIn a method: `method={entry.name}`; in Python: `tutelage.{loss.__name__}()`.\n"
        + loss_examples.section(loss)
        + _figures(entry.name)
    )


def _figures(name: str) -> str:
    """What was measured of a loss, each with its source."""
    text = ""
    if name in (cost := costs()):
        text += f"Forward and backward beside KD's on the logits: {cost[name]} (`bench/losses.py`).\n\n"
    rows = [row for file in STUDIES for row in studied(file) if name in re.findall(r"[a-z]\w+", row[2])]
    if rows:
        text += table(["measured in", "student", "method", "accuracy, %", "over alone, points", "verdict"], rows)
    return f"\n## Measured\n\n{text}" if text else ""


def studied(file: str) -> list[list[str]]:
    """The rows of a study's table: model, method, accuracy, gain, verdict."""
    lines = (RESULTS / file).read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [[f"`bench/results/{file}`", *row[:2], *map(plain, row[2:5])] for row in cells if len(row) > 4 and row[3]]


def _default(field: Any) -> str:
    return "required" if field.default is MISSING else repr(field.default)


def facts(loss: Any) -> list[list[str]]:
    """What a loss says of itself."""
    asks = [f"`{name}`" for name in loss.required_inputs()] + [
        f"`{name}` if it is there" for name in loss.required_inputs(optional=True)
    ]
    return [
        ["compares", loss.compares + (f", as {loss.feature_format}s" if loss.feature_format else "")],
        ["asks of the batch", ", ".join(asks) or "nothing"],
        ["weight", f"{loss.default_weight:g}, beside {loss.task_loss_weight:g} of the task's own loss"],
        ["connector", f"`{loss.connector}`" if loss.connector else "none"],
        ["of its own", own_parts(loss) or "nothing"],
        ["ignores", ", ".join(loss.ignores) or "nothing"],
        ["needs a teacher", "yes" if loss.needs_teacher else "no"],
        ["0 where both say the same", "yes" if loss.zero_at_equal else "no"],
    ]


def example(loss: type[Loss]) -> tuple[Any, Any]:
    """Two sides of the smallest kind that it takes."""
    own = loss.example()
    if own is not None:
        return own[0], own[1]
    if loss.compares == "review":
        sides = ([torch.randn(2, 4, side, side) for side in (8, 4, 2)] for _ in range(2))
        return next(sides), next(sides)
    flat = loss.feature_format == "vector" or (loss.compares == "response" and loss.maskable)
    shape = (2, 4) if flat else (2, 4, 4, 4)
    return torch.randn(shape), torch.randn(shape)


def own_parts(loss: type[Loss]) -> str:
    """What it builds for itself: parts that are trained, or a memory."""
    made = loss()
    made.build(*example(loss), 10)
    kept = [name for name, _ in made.named_buffers() if not re.search("running_|num_batches", name)]
    kinds = {"learned parts": list(made.parameters()), "a memory": kept}
    return ", ".join(kind for kind, found in kinds.items() if found)


def needs(loss: type[Loss]) -> str:
    """What it compares, what it asks for and what it builds."""
    sees = loss.compares + (f" as {loss.feature_format}s" if loss.feature_format else "")
    lists = [f"a list on the {side}'s side" for side in loss.list_inputs]
    asks = [f"`{name}`" for name in loss.required_inputs()]
    connector = [f"connector `{loss.connector}`"] if loss.connector else []
    return "; ".join([sees, *lists, *asks, *connector, *filter(None, [own_parts(loss)])])


def costs() -> dict[str, str]:
    """What each costs, in words, if it was measured."""
    measured = json.loads(COSTS.read_text(encoding="utf-8"))["losses"] if COSTS.exists() else {}
    return {name: f"{it['time']:.3g} × time, {it['memory']:.3g} × memory" for name, it in measured.items()}


def row(entry: registry.Entry) -> list[str]:
    """A loss's line in the overview, but for its cost."""
    loss = entry.load()
    options = ", ".join(f"`{field.name}`" for field in fields(loss))
    return [
        f"[{plain(entry.class_name)}]({entry.name}.md) `{entry.name}`",
        plain(entry.summary),
        plain(entry.paper),
        f"{needs(loss)}; options {options}" if options else needs(loss),
        entry.backing,
    ]


def overview() -> str:
    """The table of all losses."""
    entries, cost = registry.catalogue("losses"), costs()
    held = sum(entry.backing == "published numbers" for entry in entries.values())
    columns = ["loss, in a method", "what it does", "paper", "needs", "held to"]
    text = (
        "# Losses\n\nThe formula of each, its shapes and its options are on its page. Weights are the papers' own.\n\n"
        "Held to *published numbers*: values and gradients equal those of a published implementation, as "
        f"`tutelage verify` and the tests check ({held} of {len(entries)}); to *the paper's formula*: they equal a "
        "second, slow reading of it.\n\n"
    )
    if cost:
        columns.append("cost")
        text += (
            "Cost: forward and backward at batch 64 on the maps of a ResNet-20, or on 512 tokens of 32,000, relative "
            "to KD on the logits there (`bench/losses.py`).\n\n"
        )
    groups = {**GROUPS, **{e.group: e.group.capitalize() for e in entries.values() if e.group not in GROUPS}}
    for group, title in groups.items():
        of_group = [e for e in entries.values() if e.group == group]
        rows = [row(e) + ([cost.get(e.name, "–")] if cost else []) for e in of_group]
        if rows:
            text += f"## {title}\n\n" + table(columns, rows) + "\n"
    names = "\n".join(entries)
    return text + f"```{{toctree}}\n:hidden:\n\n{names}\n```\n"


# the configuration


def configuration() -> str:
    """The keys of a run and of its trainer."""
    own = [key for key in Config.model_fields if key not in TrainerSettings.model_fields]
    return (
        "## Who teaches whom, on what\n\n"
        + _keys(own)
        + "\n## How a student is trained\n\n"
        + _keys([*TrainerSettings.model_fields])
    )


def _keys(names: list[str]) -> str:
    rows = []
    for name in names:
        field = Config.model_fields[name]
        default = (
            "none"
            if field.default is None
            else str(field.default).lower()
            if isinstance(field.default, bool)
            else field.default
        )
        rows.append([f"`{name}`", f"`{default}`", plain(allowed(field)), plain(field.description or "")])
    return table(["key", "default", "allowed", "what it is"], rows)


def allowed(field: Any) -> str:
    """What a key takes, in words."""
    kind, bounds = _kinds(field.annotation), [_bound(item) for item in field.metadata]
    for choice in typing.get_args(field.annotation):
        bounds += [_bound(item) for item in getattr(choice, "__metadata__", ())]
    limits = [bound for bound in _flat(bounds) if bound]
    return kind + (", " + ", ".join(limits) if limits else "")


def _kinds(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(arguments)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_kinds(part) for part in arguments if part is not type(None))
    if origin is list:
        return f"a list ({_kinds(arguments[0])})"
    if origin is typing.Annotated:
        return _kinds(arguments[0])
    return {str: "text", int: "whole number", float: "number", bool: "true, false"}.get(annotation, "name and options")


def _bound(item: Any) -> Any:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    found = [f"{sign} {getattr(item, key):,}" for key, sign in signs.items() if getattr(item, key, None) is not None]
    return found + [_bound(inner) for inner in getattr(item, "metadata", ())]


def _flat(items: Any) -> list[str]:
    return [text for item in items for text in (_flat(item) if isinstance(item, list) else [item])]


# the command line and the other parts


def commands() -> str:
    """The help of every sub-command, as it is printed."""
    from typer.testing import CliRunner

    from tutelage.cli import FOLDER, app

    text, runner = "", CliRunner(env={"COLUMNS": "92", "NO_COLOR": "1", "TERM": "dumb", "TERMINAL_WIDTH": "92"})
    for name in sorted(path.stem for path in FOLDER.glob("[!_]*.py")):
        help_text = re.sub(r"\x1b\[[0-9;]*m", "", runner.invoke(app, [name, "--help"], prog_name="tutelage").stdout)
        help_text = re.split(r"\nKeys: ", help_text)[0]  # they are on the configuration's page
        lines = "\n".join(line.rstrip() for line in help_text.strip("\n").splitlines())
        text += f"## tutelage {name}\n\n```text\n{lines}\n```\n\n"
    return text


def policies() -> str:
    """Every policy with its options and its text."""
    text = ""
    for group in ("temperature", "weight", "samples", "schedule"):
        text += f"## {group.capitalize()}\n\n"
        for entry in registry.catalogue("policies").values():
            if entry.group == group:
                cls = entry.load()
                options = ", ".join(f"`{f.name}={f.default!r}`" for f in fields(cls)) or "none"
                text += f"### {entry.name}\n\n{explained(cls.__doc__)}Options: {options}.\n\n"
    return text


def parts() -> str:
    """Teachers and tasks, and each scheme with its text and options."""
    text = ""
    for package in ("teachers", "tasks"):
        rows = [[f"`{e.name}`", f"`{e.class_name}`", plain(e.summary)] for e in registry.catalogue(package).values()]
        text += f"## {package.capitalize()}\n\n" + table(["name", "class", "what it is"], rows) + "\n"
    text += "## Schemes\n\n`scheme: NAME`, or `scheme: {name: NAME, …options}`.\n\n"
    for entry in registry.catalogue("schemes").values():
        scheme = entry.load()
        taken = [*inspect.signature(scheme.from_context).parameters.values()][1:]
        options = ", ".join(f"`{p.name}={p.default!r}`" for p in taken) or "none"
        text += f"### {entry.name}\n\n{explained(scheme.__doc__)}Options: {options}.\n\n"
    return text


def recipe_sections() -> str:
    """Every recipe with its paper, the keys that it sets, and what was measured of it."""
    rows = [
        row | {"which": f"`{row['method']}`{which}"}
        for file, which in MEASURED.items()
        for row in json.loads((RESULTS / file).read_text(encoding="utf-8"))["rows"]
    ]
    text = ""
    for name in recipes.names():
        keys = yaml.safe_dump(recipes.load(name), sort_keys=False, width=100)
        text += f"## {name}\n\n{plain(recipes.text(name))}\n\n```yaml\n{keys}```\n\n"
        found = [[row["which"], *measured(row)] for row in rows if row["method"].partition("@")[0] == name]
        columns = ["measured", "student", "accuracy, %", "over alone, points", "verdict"]
        text += table(columns, found) + "\n" if found else ""
    return text


def measured(row: dict[str, Any]) -> list[str]:
    """A study's row: the student, its accuracy, the gain and the verdict, ± half the intervals."""
    if "failed" in row:
        return [row["model"], "failed", "", ""]
    return [
        row["model"],
        f"{100 * row['accuracy']:.1f} ± {50 * (row['interval'][1] - row['interval'][0]):.1f}",
        f"{100 * row['gain']:+.2f} ± {50 * (row['gain_interval'][1] - row['gain_interval'][0]):.2f}",
        row["verdict"],
    ]
