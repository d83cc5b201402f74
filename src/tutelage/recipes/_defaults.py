"""Networks that recipes take where none are named, or whose sizes follow from those that are."""

from __future__ import annotations

import math
import re
from itertools import product
from typing import Any

from tutelage.errors import ConfigError


def small(data: str, teacher: Any, count: int = 3) -> dict[str, Any]:
    """So many small teachers, for the digits.

    Raises: ConfigError on other data, if none are named.
    """
    if data != "digits" and teacher is None:
        raise ConfigError(
            f"data={data}: this method's teachers have to be named (teacher=[resnet56, resnet44, resnet32], or run "
            f"folders); {count} times cnn8 is its default on the digits."
        )
    return {"teacher": ["cnn8"] * count}


def between(teacher: Any, student: Any, count: int) -> list[str]:
    """Networks of the family of these two, of sizes between theirs at equal ratios, from the teacher's side on.

    teacher, student: names or run folders.
    Raises: ConfigError if the two are no sizes of one family, or there are too few between.
    """
    found = _sizes(_model(teacher), _model(student), count)
    if len(found) < count:
        raise ConfigError(
            f"teacher={teacher}, student={student}: {count} assistant{'s' if count > 1 else ''} of a size between them "
            "would be taken if they were two sizes of one family, such as resnet56 and resnet8. Write the stages out: "
            "stages=[{name: assistant, student: MODEL}, {name: student, teacher: 'stage:assistant'}]."
        )
    return found


def _model(name: Any) -> str:
    from tutelage.models import serialization

    if not isinstance(name, str):
        return ""
    return serialization.card(name).model if serialization.is_run(name) else name


def _sizes(teacher: str, student: str, count: int) -> list[str]:
    """Of the family's names, those that come nearest to the ratios and can be made."""
    from tutelage.models.loading import families

    for family in families():
        large, small = (re.fullmatch(family.pattern, name.replace("-", "_")) for name in (teacher, student))
        if large and small:
            ends = {key: (text, small[key]) for key, text in large.groupdict().items() if text or small[key]}
            if not all(text and re.fullmatch(r"[1-9]\d*", text) for pair in ends.values() for text in pair):
                return []
            if any(len(text) > 4 for pair in ends.values() for text in pair):
                return []  # no network has such numbers
            sizes = [(int(a), int(b)) for a, b in ends.values()]
            chosen: list[str] = []
            for k in range(1, count + 1):
                nearest = _nearest([a * (b / a) ** (k / (count + 1)) for a, b in sizes], sizes)
                names = (_renamed(teacher, large, dict(zip(ends, numbers, strict=True))) for numbers in nearest)
                fits = (n for n in names if n not in (teacher, student, *chosen) and _can_be_made(family, n))
                chosen += [name for name in [next(fits, "")] if name]
            return chosen
    return []


def _nearest(wanted: list[float], sizes: list[tuple[int, int]]) -> list[tuple[int, ...]]:
    """All numbers between the two sizes, those of the nearest ratios first."""

    def off(numbers: tuple[int, ...]) -> float:
        return sum(abs(math.log(number / want)) for number, want in zip(numbers, wanted, strict=True))

    return sorted(product(*(range(min(pair), max(pair) + 1) for pair in sizes)), key=off)


def _renamed(name: str, match: re.Match[str], numbers: dict[str, int]) -> str:
    """The name with other numbers in the places of its own."""
    for key, number in sorted(numbers.items(), key=lambda item: -match.start(item[0])):
        name = name[: match.start(key)] + str(number) + name[match.end(key) :]
    return name


def _can_be_made(family: Any, name: str) -> bool:
    import torch

    try:
        with torch.device("meta"):
            return family.named(name, classes=2) is not None
    except ConfigError:
        return False
