"""Compare every offline method of the catalogue, nothing tuned, with the student alone: does any do harm?

    python bench/no_harm.py --out runs/harm data=digits
    python bench/no_harm.py --out runs/harm data=folder:eurosat size=32 students=[cnn8] teachers=[cnn32] epochs=15

The words are keys of `tutelage compare`. Each loss that takes one trained teacher, and each recipe without stages that
does, is a method. Two studies: the published weights (weight=paper), then the default (weight=auto) for the methods
whose weights or warm-ups differ in it. The last line counts the methods that are worse at the default: the interval (95
%) of the gain over the student alone, over seeds, lies below zero, without correction; of 100 harmless methods two or
three are expected there by chance. `--before FOLDER` reads a finished study in the place of the first one.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import measure

import tutelage
from tutelage import recipes
from tutelage.config.methods import method_support
from tutelage.objective.auto_weight import gradient_shares
from tutelage.study import settings
from tutelage.study.conclusion import leaderboard_of
from tutelage.study.leaderboard import Leaderboard
from tutelage.study.rows import Row
from tutelage.study.store import Store
from tutelage.utils import registry
from tutelage.utils.intervals import verdict

RECIPES = ["bam", "curriculum_kd", "distpro", "dot", "kd_then_ce", "l2t_ww", "lskd", "metadistil", "multi_task"]


def methods() -> list[str]:
    """Return the names of the losses and the recipes of one trained teacher."""
    losses = [
        entry.name
        for entry in registry.catalogue("losses").values()
        if entry.needs_teacher and not entry.list_inputs and method_support(entry) == "yes"
    ]
    return [*(name for name in losses if not recipes.has(name)), *RECIPES]


def changed() -> list[str]:
    """Return the methods whose weight or warm-up at the default isn't the published one."""
    shares, losses = gradient_shares(), registry.catalogue("losses")
    return [name for name in methods() if name in shares or (name in losses and losses[name].load().warmup_share)]


def study(folder: Path, names: list[str], keys: Mapping[str, Any], weight: str) -> Leaderboard:
    """Run a study of these methods, or go on with it."""
    own, of_runs = settings.read(values={**keys, "methods": names, "weight": weight, "out": str(folder)})
    return tutelage.compare(**own.model_dump(exclude_unset=True), **of_runs).board


def rows(board: Leaderboard) -> dict[str, Row]:
    """Return the rows of the methods by name."""
    return {row.method: row for row in board.rows if row.role == "method"}


def cell(row: Row, unit: int) -> str:
    """Return the gain over the student alone with its interval, and whether that is below or above zero."""
    gain = row.gains.get("alone")
    if gain is None or gain.interval is None:
        return "refused" if row.unfinished else "–"
    low, high = (unit * bound for bound in gain.interval)
    word = verdict_of(row)
    return f"{unit * gain.mean:+.1f} ({low:+.1f} … {high:+.1f}){'' if word == 'undecided' else ', ' + word}"


def verdict_of(row: Row) -> str:
    """Return "beats", "worse" or "undecided" for the gain over the student alone, uncorrected."""
    return verdict(list(row.gains["alone"].values.values())) if "alone" in row.gains else "undecided"


def table(before: Leaderboard, after: Leaderboard) -> str:
    """Return both studies' gains over the student alone as a Markdown table."""
    unit, then, now = 100 if before.is_fraction else 1, rows(before), rows(after)
    lines = [
        f"| {name} | {cell(then[name], unit)} | {cell(now[name], unit) if name in now else 'the same'} |"
        for name in sorted(then)
    ]
    return "\n".join(["| method | published weights | default |", "|---|---|---|", *lines])


def worse(board: Mapping[str, Row]) -> list[str]:
    """Return the methods whose interval lies below zero."""
    return sorted(name for name, row in board.items() if verdict_of(row) == "worse")


def main() -> None:
    """Run the studies and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--before", type=Path, help="a finished study at the published weights")
    parser.add_argument("--table", type=Path, help="a file for the table")
    args = parser.parse_args()
    own, of_runs = settings.read(words=args.keys)
    keys = own.model_dump(exclude_unset=True) | of_runs
    before = (
        leaderboard_of(Store.open(args.before)) if args.before else study(args.out / "paper", methods(), keys, "paper")
    )
    after = study(args.out / "auto", changed(), keys, "auto")
    text = table(before, after)
    print(text)
    if args.table:
        args.table.write_text(text + "\n", encoding="utf-8")
    at_default = {**rows(before), **rows(after)}
    print("worse at the published weights:", ", ".join(worse(rows(before))) or "none")
    print("worse at the default:", ", ".join(worse(at_default)) or "none")
    measure.conclude([("methods that are worse at the default", len(worse(at_default)), 0)])


if __name__ == "__main__":
    main()
