"""The result of a run in sentences, in a line, and as a small table of HTML."""

from __future__ import annotations

import html as markup
from collections.abc import Iterator, Mapping
from typing import Any

from tutelage.errors import plain
from tutelage.utils.console import format_metric
from tutelage.utils.intervals import interval_caveat, is_worse

ORDER = ("teacher", "baseline", "student")
VERDICTS = {
    "beats": "The taught student beats the student trained alone",
    "undecided": "Undecided whether teaching helped",
    "worse": "The taught student is worse than the student trained alone",
}


def roles(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the display name of each role in the result; a student without a baseline is just "student"."""
    both = bool(result["baseline"] and result["student"])
    names = {"baseline": "student alone", "student": "student taught"} if both else {}
    return {role: names.get(role, "teacher" if role == "teacher" else "student") for role in ORDER if result[role]}


def describe_result(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield how the method was chosen, the verdict, its caveats, and a warning if the teacher is worse than alone."""
    yield from (result.get("choice") or {}).get("reasons", [])
    if gain := result["gain"]:
        yield _verdict(result, gain)
        if caveat := interval_caveat(gain["values"]):
            yield f"{caveat[0].upper()}{caveat[1:]}: seeds=5."
    teacher, baseline = ((result[role] or {}).get(result["metric"]) for role in ("teacher", "baseline"))
    if teacher is not None and baseline is not None and is_worse(teacher, baseline, result["higher_is_better"]):
        against = f"{format_metric(teacher)} against {format_metric(baseline)}"
        yield (
            f"warning: the teacher is worse than the student trained alone ({result['metric']} {against}): train it "
            "longer (teacher_epochs), or use a better one."
        )


def _verdict(result: Mapping[str, Any], gain: Mapping[str, Any]) -> str:
    """Return the verdict, with the gain and its interval, or the reason why there is none."""
    if gain["interval"] is None:
        mean = format_metric(gain["mean"], "+")
        return f"Undecided whether teaching helped: gain {mean} from one seed; seeds=5 gives an interval."
    where = f"95 % interval {interval(gain['interval'], '+')} over {len(gain['values'])} seeds"
    return f"{VERDICTS[gain['verdict']]}: {result['metric']} {format_metric(gain['mean'], '+')} ({where})."


def interval(bounds: list[float] | None, sign: str = "") -> str:
    """Return "low … high"; empty if there is no interval."""
    return "" if bounds is None else f"{format_metric(bounds[0], sign)} … {format_metric(bounds[1], sign)}"


def _scores(result: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Yield the name, model and metric of each role that has one."""
    for role, name in roles(result).items():
        values = result[role]
        if values.get(result["metric"]) is not None:
            yield name, values["model"], values[result["metric"]]


def escape(text: str) -> str:
    """Return a text with HTML's special characters escaped."""
    return markup.escape(plain(text))


def line(folder: object, result: Mapping[str, Any]) -> str:
    """Return a line with the folder, each role's metric and the verdict."""
    metrics = ", ".join(f"{name} {format_metric(value)}" for name, _, value in _scores(result))
    gain = result["gain"]
    verdict = f"; {gain['verdict']}, {format_metric(gain['mean'], '+')}" if gain else ""
    return f"FinishedRun({str(folder)!r}: {result['metric']}: {metrics}{verdict})"


def html(folder: object, report: object, result: Mapping[str, Any]) -> str:
    """Return the result as an HTML table, with its sentences and a link to the report."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(model)}</td><td>{format_metric(value)}</td></tr>"
        for name, model, value in _scores(result)
    )
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in describe_result(result))
    head = f"<tr><th></th><th>model</th><th>{escape(result['metric'])}</th></tr>"
    link = f'<p><a href="{escape(str(report))}">report</a> in {escape(str(folder))}</p>'
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>{paragraphs}{link}"
