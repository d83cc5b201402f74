"""Search weights, temperatures, layers or other keys on validation samples, and judge the choice on test."""

from __future__ import annotations

import typer

from tutelage.cli.arguments import Arguments, KeyValueCommand, split_file

app = typer.Typer(add_completion=False)

EXAMPLES = """Tune keys of a run: choose among trials on validation samples, then compare with the untuned run on test.

search names the keys and their values: \\[low, high], \\[low, high, log], a list of choices, or {choices: [1, 2]}.
Options of a term, a scheme or a stage are named by a path: method.kd.temperature. trials=20 is their number; seeds is
that of the trainings of a trial; prune=false trains hopeless trials to their end. processes=2 trains two trials at
once, with engine=ray by Ray Tune. The same command goes on after an interruption. It requires
`pip install 'tutelage\\[tune]'`.

Examples:

  tutelage tune method=kd 'search={lr: [0.01, 0.3, log], method.kd.temperature: [1, 8]}' trials=10

  tutelage tune study.yaml trials=30 seeds=3 out=runs/tuned

  tutelage tune runs/tuned/tune.yaml
"""


@app.command(cls=KeyValueCommand, help=EXAMPLES)
def tune(arguments: Arguments = None) -> None:
    """Run the search, print a line for each trial, then the verdict."""
    file, pairs = split_file(arguments or [])
    from tutelage.cli.summary import load_command
    from tutelage.runs.inputs import Provided
    from tutelage.study import tune_settings
    from tutelage.study.tune import open_tuning
    from tutelage.study.tuning import Tuning
    from tutelage.utils.console import format_metric, print_lines

    settings, config = tune_settings.separate(tune_settings.read(file, pairs))
    tuned = open_tuning(Tuning.begin(config, settings, Provided(), print_lines).run())
    gain, metric = tuned.result["gain"], tuned.result["metric"]
    mean = sum(gain["values"]) / len(gain["values"])
    print_lines(
        f"tuned against untuned on test: {metric} {format_metric(mean, '+')}, {gain['verdict']}",
        f"report   {tuned.report}",
        f"choice   {tuned.folder / 'config.yaml'}",
        f"load it  {load_command(tuned.folder / 'tuned')}",
    )
