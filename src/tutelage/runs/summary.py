"""What a run found, in sentences, in a line, and as a small table of HTML."""

from __future__ import annotations

import html as markup
from collections.abc import Iterator, Mapping
from typing import Any

from tutelage.errors import plain
from tutelage.utils.intervals import interval_caveat, is_worse

ORDER = ("teacher", "baseline", "student")
VERDICTS = {
    "beats": "The taught student beats the student trained alone",
    "undecided": "Undecided whether teaching helped",
    "worse": "The taught student is worse than the student trained alone",
}


def roles(result: Mapping[str, Any]) -> dict[str, str]:
    """The roles that there are, by what they are called: a student that nothing is compared with is the student."""
    both = bool(result["baseline"] and result["student"])
    called = {"baseline": "student alone", "student": "student taught"} if both else {}
    return {role: called.get(role, "teacher" if role == "teacher" else "student") for role in ORDER if result[role]}


def sentences(result: Mapping[str, Any]) -> Iterator[str]:
    """What the figures say: the verdict and its doubts, and whether the teacher is worse than the student alone."""
    if gain := result["gain"]:
        yield _verdict(result, gain)
        if few := interval_caveat(gain["values"]):
            yield f"{few[0].upper()}{few[1:]}: seeds=5."
    teacher, baseline = ((result[role] or {}).get(result["metric"]) for role in ("teacher", "baseline"))
    if is_worse(teacher, baseline, result["higher_is_better"]):
        yield (
            f"warning: the teacher is worse than the student trained alone ({result['metric']} {teacher:.4f} against "
            f"{baseline:.4f}): train it longer (teacher_epochs), or take a better one."
        )


def _verdict(result: Mapping[str, Any], gain: Mapping[str, Any]) -> str:
    """The verdict, with the gain and its interval, or why there is none."""
    if gain["interval"] is None:
        return f"Undecided whether teaching helped: gain {gain['mean']:+.4f} from one seed; seeds=5 gives an interval."
    where = f"95 % interval {interval(gain['interval'], '+')} over {len(gain['values'])} seeds"
    return f"{VERDICTS[gain['verdict']]}: {result['metric']} {gain['mean']:+.4f} ({where})."


def interval(bounds: list[float] | None, sign: str = "") -> str:
    """low … high; empty if there is none."""
    return "" if bounds is None else f"{bounds[0]:{sign}.4f} … {bounds[1]:{sign}.4f}"


def _reached(result: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Each role's name, model and figure, where it has one."""
    for role, name in roles(result).items():
        values = result[role]
        if values.get(result["metric"]) is not None:
            yield name, values["model"], values[result["metric"]]


def escape(text: str) -> str:
    """For HTML."""
    return markup.escape(plain(text))


def line(folder: object, result: Mapping[str, Any]) -> str:
    """The folder, each role's figure and the verdict."""
    metrics = ", ".join(f"{name} {value:.4f}" for name, _, value in _reached(result))
    gain = result["gain"]
    verdict = f"; {gain['verdict']}, {gain['mean']:+.4f}" if gain else ""
    return f"FinishedRun({str(folder)!r}: {result['metric']}: {metrics}{verdict})"


def html(folder: object, report: object, result: Mapping[str, Any]) -> str:
    """The same as a table with its sentences and a link to the report."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(model)}</td><td>{value:.4f}</td></tr>"
        for name, model, value in _reached(result)
    )
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in sentences(result))
    head = f"<tr><th></th><th>model</th><th>{escape(result['metric'])}</th></tr>"
    link = f'<p><a href="{escape(str(report))}">report</a> in {escape(str(folder))}</p>'
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>{paragraphs}{link}"
