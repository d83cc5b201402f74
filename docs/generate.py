"""Generates the pages on losses, configuration keys and sub-commands from the code when the site is built."""

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
    "response": "Responses: the models' logits",
    "feature": "Features: the outputs of intermediate layers",
    "relation": "Relations: between the samples of a batch",
    "dense": "Dense: maps of logits",
    "multi_teacher": "Several teachers",
    "online": "Peers",
    "regression": "Regression",
}


STUDIES = ("tier1.md", "eurosat.md")
RESULTS = Path(__file__).parents[1] / "bench" / "results"
COSTS = RESULTS / "losses.json"
MEASURED = {
    "who.json": "",
    "gap.json": ", resnet56 teacher",
    "gap_small.json": ", cnn64 teacher, 12 epochs, 5 seeds",
}


def write(docs: Path) -> None:
    """Write docs/losses/*.md, and the tables that other pages include to docs/_build/generated."""
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
    """Write a file only if its text changed, so that Sphinx rebuilds only what changed."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def plain(text: str) -> str:
    """Escape Markdown markup in a text."""
    return re.sub(r"([\\*_<>\[\]|$`])", r"\\\1", text)


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


# the losses


def sections(doc: str) -> dict[str, str]:
    """Split a loss's docstring into "summary", "formula", and the labelled parts "Shapes", "Paper" and "Raises"."""
    summary, _, rest = (doc or "").partition("\n\n")
    result = {"summary": " ".join(summary.split()), "formula": "", "Shapes": "", "Paper": "", "Raises": ""}
    part = "formula"
    for line in rest.splitlines():
        label, colon, text = line.strip().partition(":")
        if colon and label in result:
            part, line = label, text
        result[part] += line.strip() + "\n"
    return {name: text.strip() for name, text in result.items()}


def explained(doc: str | None) -> str:
    """Return a docstring as Markdown: its summary, its formulas, and its labelled parts."""
    parts = sections(inspect.cleandoc(doc or ""))
    lines = "\n\n".join(map(formulas.markdown, formulas.statements(parts["formula"]))) if parts["formula"] else ""
    framed = f":::{{container}} formula\n{lines}\n:::\n\n" if lines else ""
    labels = [label for label in ("Shapes", "Paper", "Raises") if parts[label]]
    labelled = "".join(f"**{label}.** {formulas.escape(' '.join(parts[label].split()))}\n\n" for label in labels)
    return f"{formulas.escape(parts['summary'])}\n\n{framed}{labelled}"


def loss_page(entry: registry.CatalogueEntry) -> str:
    """Return the page of one loss."""
    loss = entry.load()
    options = [[f"`{f.name}`", f"`{_default(f)}`", f"`{f.type}`"] for f in fields(loss)]
    return (
        f"# {loss.__name__}\n\n{explained(loss.__doc__)}"
        + (table(["option", "default", "type"], options) + "\n" if options else "")
        + table(["trait", ""], [*traits(loss), ["tested against", entry.backing]])
        + f"\nIn a method: `method={entry.name}`; in Python: `tutelage.{loss.__name__}()`.\n"
        + loss_examples.section(loss)
        + _measurements(entry.name)
    )


def _measurements(name: str) -> str:
    """Return the measurements of a loss, each with its source."""
    text = ""
    if name in (cost := costs()):
        text += f"Forward and backward, relative to KD on the logits: {cost[name]} (`bench/losses.py`).\n\n"
    rows = [row for file in STUDIES for row in studied(file) if name in re.findall(r"[a-z]\w+", row[2])]
    if rows:
        text += table(["measured in", "student", "method", "accuracy, %", "gain over alone, points", "verdict"], rows)
    return f"\n## Measured\n\n{text}" if text else ""


def studied(file: str) -> list[list[str]]:
    """Return the rows of a study's table: model, method, accuracy, gain, verdict."""
    lines = (RESULTS / file).read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [[f"`bench/results/{file}`", *row[:2], *map(plain, row[2:5])] for row in cells if len(row) > 4 and row[3]]


def _default(field: Any) -> str:
    return "required" if field.default is MISSING else repr(field.default)


def traits(loss: Any) -> list[list[str]]:
    """Return the traits that a loss declares."""
    inputs = [f"`{name}`" for name in loss.required_inputs()] + [
        f"`{name}` if available" for name in loss.required_inputs(optional=True)
    ]
    return [
        ["compares", loss.compares + (f", as {loss.feature_format}s" if loss.feature_format else "")],
        ["requires from the batch", ", ".join(inputs) or "nothing"],
        ["weight", f"{loss.default_weight:g}, with {loss.task_loss_weight:g} of the task loss"],
        ["connector", f"`{loss.connector}`" if loss.connector else "none"],
        ["has", own_parts(loss) or "no state"],
        ["ignores", ", ".join(loss.ignores) or "nothing"],
        ["needs a teacher", "yes" if loss.needs_teacher else "no"],
        ["zero for equal outputs", "yes" if loss.zero_at_equal else "no"],
    ]


def example(loss: type[Loss]) -> tuple[Any, Any]:
    """Return small inputs for both sides of a loss."""
    declared = loss.example()
    if declared is not None:
        return declared[0], declared[1]
    if loss.compares == "review":
        sides = ([torch.randn(2, 4, side, side) for side in (8, 4, 2)] for _ in range(2))
        return next(sides), next(sides)
    flat = loss.feature_format == "vector" or (loss.compares == "response" and loss.maskable)
    shape = (2, 4) if flat else (2, 4, 4, 4)
    return torch.randn(shape), torch.randn(shape)


def own_parts(loss: type[Loss]) -> str:
    """Return which state a loss builds: learned parts, a memory bank."""
    instance = loss()
    instance.build(*example(loss), 10)
    buffers = [name for name, _ in instance.named_buffers() if not re.search("running_|num_batches", name)]
    kinds = {"learned parts": list(instance.parameters()), "a memory": buffers}
    return ", ".join(kind for kind, tensors in kinds.items() if tensors)


def needs(loss: type[Loss]) -> str:
    """Return what a loss compares, requires and builds, for the overview."""
    compares = loss.compares + (f" as {loss.feature_format}s" if loss.feature_format else "")
    list_inputs = [f"a list on the {side}'s side" for side in loss.list_inputs]
    inputs = [f"`{name}`" for name in loss.required_inputs()]
    connector = [f"connector `{loss.connector}`"] if loss.connector else []
    return "; ".join([compares, *list_inputs, *inputs, *connector, *filter(None, [own_parts(loss)])])


def costs() -> dict[str, str]:
    """Return the measured cost of each loss as text."""
    measured = json.loads(COSTS.read_text(encoding="utf-8"))["losses"] if COSTS.exists() else {}
    return {name: f"{cost['time']:.3g} × time, {cost['memory']:.3g} × memory" for name, cost in measured.items()}


def row(entry: registry.CatalogueEntry) -> list[str]:
    """Return a loss's row in the overview, without its cost."""
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
    """Return the page with the table of all losses."""
    entries, cost = registry.catalogue("losses"), costs()
    published = sum(entry.backing == "published numbers" for entry in entries.values())
    columns = ["loss, in a method", "what it does", "paper", "needs", "tested against"]
    text = (
        "# Losses\n\nEach loss's page has its formula, shapes and options. Default weights are those of the papers.\n\n"
        "Tested against *published numbers*: values and gradients equal those of a published implementation, as "
        f"`tutelage verify` and the tests check ({published} of {len(entries)}); against *the paper's formula*: they "
        "equal a second, slow implementation of it.\n\n"
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
    """Return the tables of a run's keys and of its trainer's."""
    run_keys = [key for key in Config.model_fields if key not in TrainerSettings.model_fields]
    return (
        "## Models, data and method\n\n"
        + _keys(run_keys)
        + "\n## Training\n\n"
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
    return table(["key", "default", "allowed", "description"], rows)


def allowed(field: Any) -> str:
    """Describe the values that a key accepts."""
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
    bounds = [f"{sign} {getattr(item, key):,}" for key, sign in signs.items() if getattr(item, key, None) is not None]
    return bounds + [_bound(inner) for inner in getattr(item, "metadata", ())]


def _flat(items: Any) -> list[str]:
    return [text for item in items for text in (_flat(item) if isinstance(item, list) else [item])]


# the command line and the other parts


def commands() -> str:
    """Return the help of every sub-command, as printed."""
    from typer.testing import CliRunner

    from tutelage.cli import FOLDER, app

    text, runner = "", CliRunner(env={"COLUMNS": "92", "NO_COLOR": "1", "TERM": "dumb", "TERMINAL_WIDTH": "92"})
    for name in sorted(path.stem for path in FOLDER.glob("[!_]*.py")):
        help_text = re.sub(r"\x1b\[[0-9;]*m", "", runner.invoke(app, [name, "--help"], prog_name="tutelage").stdout)
        help_text = re.split(r"\nKeys: ", help_text)[0]  # the keys are on the configuration page
        lines = "\n".join(line.rstrip() for line in help_text.strip("\n").splitlines())
        text += f"## tutelage {name}\n\n```text\n{lines}\n```\n\n"
    return text


def policies() -> str:
    """Return a section for each policy, with its docstring and options."""
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
    """Return the tables of teachers and tasks, and a section for each scheme with its docstring and options."""
    text = ""
    for package in ("teachers", "tasks"):
        rows = [[f"`{e.name}`", f"`{e.class_name}`", plain(e.summary)] for e in registry.catalogue(package).values()]
        text += f"## {package.capitalize()}\n\n" + table(["name", "class", "description"], rows) + "\n"
    text += "## Schemes\n\n`scheme: NAME`, or `scheme: {name: NAME, …options}`.\n\n"
    for entry in registry.catalogue("schemes").values():
        scheme = entry.load()
        parameters = [*inspect.signature(scheme.from_context).parameters.values()][1:]
        options = ", ".join(f"`{p.name}={p.default!r}`" for p in parameters) or "none"
        text += f"### {entry.name}\n\n{explained(scheme.__doc__)}Options: {options}.\n\n"
    return text


def recipe_sections() -> str:
    """Return a section for each recipe, with its paper, keys and measurements."""
    rows = [
        row | {"which": f"`{row['method']}`{which}"}
        for file, which in MEASURED.items()
        for row in json.loads((RESULTS / file).read_text(encoding="utf-8"))["rows"]
    ]
    text = ""
    for name in recipes.names():
        keys = yaml.safe_dump(recipes.load(name), sort_keys=False, width=100)
        text += f"## {name}\n\n{plain(recipes.text(name))}\n\n```yaml\n{keys}```\n\n"
        measurements = [[row["which"], *measured(row)] for row in rows if row["method"].partition("@")[0] == name]
        columns = ["measured", "student", "accuracy, %", "gain over alone, points", "verdict"]
        text += table(columns, measurements) + "\n" if measurements else ""
    return text


def measured(row: dict[str, Any]) -> list[str]:
    """Return a study's row as text: student, accuracy, gain and verdict, ± half of the intervals."""
    if "failed" in row:
        return [row["model"], "failed", "", ""]
    return [
        row["model"],
        f"{100 * row['accuracy']:.1f} ± {50 * (row['interval'][1] - row['interval'][0]):.1f}",
        f"{100 * row['gain']:+.2f} ± {50 * (row['gain_interval'][1] - row['gain_interval'][0]):.2f}",
        row["verdict"],
    ]
