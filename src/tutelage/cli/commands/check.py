"""Check a run on one batch without training: layer pairs, costs and common mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tutelage.cli.arguments import Arguments, KeyValueCommand, read_keys
from tutelage.errors import ConfigError

if TYPE_CHECKING:
    from tutelage.data.data_module import DataModule
    from tutelage.runs.preflight import Trial
    from tutelage.study.candidates import ChoicePlan

app = typer.Typer(add_completion=False)
MOST_STEPS = 10_000
COLOURS = {"ok": "green", "warning": "yellow", "error": "bold red"}

EXAMPLES = """Run one step on one batch; nothing is trained, and no run folder is written. An error gives exit code 1.

Shows the data, both networks, the layer pairs with their connectors, each term's value and gradient norm, and the cost
of a step and of the run, and looks for common mistakes.

Examples:

  tutelage check teacher=runs/big student=resnet8x4 data=folder:photos method=kd+0.5*at

  tutelage check study.yaml

  tutelage check teacher=runs/big student=resnet8x4 method=auto      also tells what would be tried

  tutelage check study.yaml steps=20      also trains a copy of the student for 20 steps

  tutelage check study.yaml draw=batch.html      also draws an augmented training batch with its targets
"""


@app.command(cls=KeyValueCommand, help=EXAMPLES)
def check(arguments: Arguments = None) -> None:
    """Check the run and print the findings."""
    own = {key: [arg for arg in arguments or [] if arg.startswith(f"{key}=")] for key in ("steps", "draw")}
    keys = read_keys([arg for arg in arguments or [] if arg not in own["steps"] + own["draw"]])
    steps = _step_count(own["steps"][-1]) if own["steps"] else 0
    page = _page(own["draw"][-1]) if own["draw"] else None
    from tutelage.config import schema
    from tutelage.runs import preflight, results
    from tutelage.study import auto
    from tutelage.utils.console import print_lines

    plan = auto.preview(keys) if auto.is_requested(keys) else None
    config = schema.check(keys if plan is None else {**keys, "method": plan.candidates[0].method})
    trial = preflight.check(config, steps, page)
    if plan is not None:
        _print_plan(plan, trial, config.batch_size)
    print_lines(*(results.read_choice(config) or {}).get("reasons", []))
    if page is not None:
        print_lines(f"a training batch is drawn in {page}")
    _print_data(trial)
    if trial.student is not None:
        _print_networks(trial)
        print_lines("")
        _print_terms(trial)
        _print_costs(trial)
    _print_findings(trial)
    if any(finding.level == "error" for finding in trial.findings):
        raise typer.Exit(1)


def _print_plan(plan: ChoicePlan, trial: Trial, batch_size: int) -> None:
    """Print what method=auto would try, and its cost; what follows is of the first of these losses."""
    from tutelage.utils.console import format_duration, print_lines, print_table

    rows = [("the student alone", "labels"), *((each.name, each.kind) for each in plan.candidates)]
    print_table("method=auto would try", ("candidate", "compares"), rows)
    print_lines(*(f"  not {name}: {reason}" for name, reason in plan.left_out.items()))
    seconds = format_duration(plan.cost * trial.data.steps(batch_size) * trial.step)
    stops = " and ".join(map(str, plan.rungs))
    print_lines(
        f"{plan.epochs} epochs, {plan.seeds} seeds"
        + (f", the worse half of the losses stops after {stops}" if stops else "")
        + f": at most {plan.cost} epochs, about {seconds}, {plan.cost / plan.whole:.0%} of training every candidate",
        f"layers of one pair: chosen by their quality, once the teacher is trained; below, method={rows[1][0]}",
        "",
    )


def _step_count(argument: str) -> int:
    """The number in steps=NUMBER."""
    text = argument.removeprefix("steps=")
    if not (text.isdecimal() and 1 <= int(text) <= MOST_STEPS):
        raise ConfigError(f"{argument}: expected the number of steps, 1 to {MOST_STEPS}.")
    return int(text)


def _page(argument: str) -> Path:
    """The path in draw=FILE.html."""
    path = Path(argument.removeprefix("draw="))
    if path.suffix != ".html" or path.is_dir():
        raise ConfigError(f"{argument}: expected the name of the page to write, such as draw=batch.html.")
    return path


def _print_data(trial: Trial) -> None:
    from tutelage.utils.console import print_lines

    data = trial.data
    names = {"train": "training", "val": "validation", "test": "test"}
    sizes = ", ".join(f"{len(getattr(data, split)):,} {names[split]}" for split in data.splits)
    print_lines(
        f"data {data.name}: {sizes} samples; {_outputs(data)}; {data.kind.describe(data.channels, data.size)}; "
        f"augment {data.augment}; mean {_decimals(data.mean)}, std {_decimals(data.std)}"
    )


def _outputs(data: DataModule) -> str:
    if data.target == "none":
        return "no labels"
    return f"{len(data.classes)} classes" if data.values is None else f"values of {', '.join(data.values.names)}"


def _decimals(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3f}" for value in values[:4]) + (" …" if len(values) > 4 else "")


def _print_networks(trial: Trial) -> None:
    from tutelage.utils.console import format_number, print_lines

    for name, network in (("student", trial.student), ("teacher", trial.teacher)):
        if network is not None:
            parameters = sum(p.numel() for p in network.parameters())
            macs = f", {format_number(trial.macs[name])} MACs per sample" if name in trial.macs else ""
            print_lines(f"{name}: {format_number(parameters)} parameters{macs}")


def _format_weight(weight: float | str) -> str:
    return weight if isinstance(weight, str) else f"{weight:g}"


def _print_terms(trial: Trial) -> None:
    from tutelage.objective.term import Term
    from tutelage.runs.phase import describe_weight
    from tutelage.utils.console import format_number, print_lines, print_table

    rows = [
        (
            name,
            _format_weight(describe_weight(term)),
            f"{trial.values.get(name, 0):.4g}",
            f"{trial.norms.get(name, 0):.3g}",
        )
        for name, term in trial.terms.named_terms().items()
    ]
    if not trial.terms or any(name not in trial.values for name in trial.terms):  # peers: each has its own terms
        rows = [(n.removeprefix("peers/"), "", f"{v:.4g}", f"{_norm(trial, n):.3g}") for n, v in trial.values.items()]
    print_table("", ("term", "weight", "value × weight", "gradient norm"), rows)
    for name, term in trial.terms.items():
        assert isinstance(term, Term)
        for i, (student, teacher) in enumerate(term.pairs):
            connector = term.connectors[i] if len(term.connectors) else None
            size = 0 if connector is None else sum(p.numel() for p in connector.parameters())
            using = (
                ""
                if connector is None
                else f" through {type(connector).__name__} ({format_number(size)} trainable parameters)"
            )
            print_lines(f"  {name}: student {student} ← teacher {teacher}{using}")
        if count := sum(p.numel() for p in term.loss.parameters()):
            print_lines(f"  {name}: the loss itself has {format_number(count)} trainable parameters")


def _norm(trial: Trial, name: str) -> float:
    return trial.norms.get(name.removeprefix("peers/"), 0.0)


def _print_costs(trial: Trial) -> None:
    from tutelage.utils.console import format_duration, print_lines

    fraction = f"{min(trial.teaching / trial.step, 1):.0%}" if trial.step else "0%"
    teacher = f", {fraction} of it for the teacher" if trial.teacher is not None else ""
    print_lines(
        f"cost: {format_duration(trial.step)} per step{teacher}; about {format_duration(trial.seconds)} for the run "
        "without "
        f"validation; peak memory {trial.memory:,.0f} MB",
        *([f"a cached teacher would make a step {fraction} cheaper"] if trial.cacheable else []),
        "",
    )


def _print_findings(trial: Trial) -> None:
    from rich.text import Text

    from tutelage.errors import plain
    from tutelage.utils.console import console

    out = console()
    for finding in trial.findings:
        advice = f": {finding.mend}" if finding.mend else ""
        level = Text(f"{finding.level:<8}", style=COLOURS[finding.level])
        out.print(level + Text(plain(finding.what + advice)), soft_wrap=True)
