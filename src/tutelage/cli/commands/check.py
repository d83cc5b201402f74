"""Try one step without training, or some: pairs, costs, and the classic mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tutelage.cli.arguments import KeyValueCommand, Words, read
from tutelage.errors import ConfigError

if TYPE_CHECKING:
    from tutelage.runs.preflight import Trial

app = typer.Typer(add_completion=False)
MOST_STEPS = 10_000
COLOURS = {"ok": "green", "warning": "yellow", "error": "bold red"}

EXAMPLES = """Try one step of a run on one batch: nothing is trained, no file is written. An error gives exit code 1.

Shows the data, both networks, the layer pairs with their connectors, each term's value and gradient norm, the cost of a
step and of the run, and looks for the classic mistakes.

Examples:

  tutelage check teacher=runs/big student=resnet8x4 data=folder:photos method=kd+0.5*at

  tutelage check study.yaml

  tutelage check study.yaml steps=20      the first 20 steps are taken too, with a copy of the student
"""


@app.command(cls=KeyValueCommand, help=EXAMPLES)
def check(words: Words = None) -> None:
    """Try it, print what was found."""
    steps = [word for word in words or [] if word.startswith("steps=")]
    config = read([word for word in words or [] if word not in steps])
    from tutelage.runs import preflight
    from tutelage.utils.console import say

    trial = preflight.check(config, _count(steps[-1]) if steps else 0)
    _data(trial)
    if trial.student is not None:
        _networks(trial)
        say("")
        _terms(trial)
        _costs(trial)
    _findings(trial)
    if any(finding.level == "error" for finding in trial.findings):
        raise typer.Exit(1)


def _count(word: str) -> int:
    """The number in steps=NUMBER."""
    text = word.removeprefix("steps=")
    if not (text.isdecimal() and 1 <= int(text) <= MOST_STEPS):
        raise ConfigError(f"{word}: expected how many steps to take, 1 to {MOST_STEPS}.")
    return int(text)


def _data(trial: Trial) -> None:
    from tutelage.utils.console import say

    data = trial.data
    say(
        f"data {data.name}: {len(data.train):,} training, {len(data.val):,} validation, {len(data.test):,} test "
        f"samples; {len(data.classes)} classes; {data.channels} × {data.size[0]} × {data.size[1]}; "
        f"augment {data.augment}; mean {_numbers(data.mean)}, std {_numbers(data.std)}"
    )


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _networks(trial: Trial) -> None:
    from tutelage.utils.console import number, say

    for name, network in (("student", trial.student), ("teacher", trial.teacher)):
        if network is not None:
            parameters = sum(p.numel() for p in network.parameters())
            say(f"{name}: {number(parameters)} parameters, {number(trial.macs[name])} MACs an image")


def _weight(weight: float | str) -> str:
    return weight if isinstance(weight, str) else f"{weight:g}"


def _terms(trial: Trial) -> None:
    from tutelage.objective.term import Term
    from tutelage.policies.parsing import describe_policy
    from tutelage.utils.console import number, say, table

    rows = [
        (
            name,
            _weight(describe_policy(term.weight)),
            f"{trial.values.get(name, 0):.4g}",
            f"{trial.norms.get(name, 0):.3g}",
        )
        for name, term in trial.terms.named().items()
    ]
    if not trial.terms or any(name not in trial.values for name in trial.terms):  # peers: each has its own
        rows = [(n.removeprefix("peers/"), "", f"{v:.4g}", f"{_norm(trial, n):.3g}") for n, v in trial.values.items()]
    table("", ("term", "weight", "value × weight", "gradient norm"), rows)
    for name, term in trial.terms.items():
        assert isinstance(term, Term)
        for i, (student, teacher) in enumerate(term.pairs):
            connector = term.connectors[i] if len(term.connectors) else None
            size = 0 if connector is None else sum(p.numel() for p in connector.parameters())
            by = "" if connector is None else f" by {type(connector).__name__} ({number(size)} trainable parameters)"
            say(f"  {name}: student {student} ← teacher {teacher}{by}")
        if own := sum(p.numel() for p in term.loss.parameters()):
            say(f"  {name}: the loss itself has {number(own)} trainable parameters")


def _norm(trial: Trial, name: str) -> float:
    return trial.norms.get(name.removeprefix("peers/"), 0.0)


def _costs(trial: Trial) -> None:
    from tutelage.utils.console import duration, say

    part = f"{min(trial.teaching / trial.step, 1):.0%}" if trial.step else "0%"
    share = f", {part} of it the teacher" if trial.teacher is not None else ""
    say(
        f"cost: {duration(trial.step)} a step{share}; about {duration(trial.seconds)} for the run, validation not "
        f"counted; {trial.memory:,.0f} MB of memory at its peak",
        *([f"a cached teacher would make a step {part} cheaper"] if trial.cacheable else []),
        "",
    )


def _findings(trial: Trial) -> None:
    from rich.text import Text

    from tutelage.errors import plain
    from tutelage.utils.console import console

    out = console()
    for finding in trial.findings:
        mend = f": {finding.mend}" if finding.mend else ""
        mark = Text(f"{finding.level:<8}", style=COLOURS[finding.level])
        out.print(mark + Text(plain(finding.what + mend)), soft_wrap=True)
