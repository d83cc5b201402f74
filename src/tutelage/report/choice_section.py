"""The section on a method that method=auto chose: the candidates, their validation figures, why, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.report.components import Block, Section, Text, Unit, WideTable, format_duration, is_interval, is_number
from tutelage.report.run_record import RunRecord


def choice(run: RunRecord) -> Section:
    """Build the section of the reasons, the candidates and the losses that weren't tried."""
    chosen: Mapping[str, Any] = run.result["choice"]
    rows = chosen["candidates"]
    unit = Unit.of([row["mean"] for row in rows if is_number(row["mean"])], bool(chosen["higher_is_better"]))
    blocks: list[Block] = [Text(sentence) for sentence in chosen["reasons"]]
    table = WideTable(
        f"Validation {chosen['metric']} after {chosen['epochs']} epochs",
        ["Candidate", "Compares", chosen["metric"], "Against alone", "95 % interval", "Seeds", "Took", "State"],
        [_row(row, unit) for row in rows],
        "Seeds that the run itself doesn't have; the candidates are listed from cheap to expensive kinds.",
    )
    blocks.append(table)
    if left_out := chosen["left_out"]:
        blocks.append(WideTable("Not tried", ["Loss", "Why"], [[name, why] for name, why in left_out.items()]))
    lead = "Short trainings of every candidate, judged on validation samples: nothing had read test until then."
    return Section("How the method was chosen", lead, blocks)


def _row(row: Mapping[str, Any], unit: Unit) -> list[Any]:
    gain = f"{unit.difference(row['gain'])}{unit.points}" if is_number(row["gain"]) else "–"
    bounds = " to ".join(map(unit.difference, row["interval"])) if is_interval(row["interval"]) else "–"
    figures = [unit(row["mean"]), gain, bounds, len(row["values"])]
    state = row["state"] + (f": {row['reason']}" if row["reason"] else "")
    return [row["name"], row["kind"] or "labels alone", *figures, format_duration(row["seconds"]), state]
