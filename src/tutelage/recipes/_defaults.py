"""The default networks of recipes, and networks whose sizes follow from the configured ones."""

from __future__ import annotations

import math
import re
from itertools import product
from typing import Any

from tutelage.errors import ConfigError


def small_teachers(data: str, teacher: Any, count: int = 3) -> dict[str, Any]:
    """Return keys with `count` small teachers as the default for the digits.

    Raises: ConfigError for other data without teachers.
    """
    if data != "digits" and teacher is None:
        raise ConfigError(
            f"data={data}: this method has no default teachers except for the digits, where they are {count} times "
            "cnn8: name them (teacher=[resnet56, resnet44, resnet32], or run folders)."
        )
    return {"teacher": ["cnn8"] * count}


def assistants_between(teacher: Any, student: Any, count: int) -> list[str]:
    """Return models of the same family with sizes between the teacher's and the student's, from the larger down.

    The ratios between consecutive sizes are as equal as possible.

    Args:
        teacher: the name of a model, or a run folder.
        student: the name of a model, or a run folder.
        count: the number of models.

    Raises: ConfigError if the two aren't sizes of one family, or there are too few sizes between.
    """
    assistants = _sizes(_model(teacher), _model(student), count)
    if len(assistants) < count:
        raise ConfigError(
            f"teacher={teacher}, student={student}: expected two sizes of one family, such as resnet56 and resnet8, "
            f"with {count} size{'s' if count > 1 else ''} between them for assistants. Use such models, or write the "
            "stages: stages=[{name: assistant, student: MODEL}, {name: student, teacher: 'stage:assistant'}]."
        )
    return assistants


def _model(name: Any) -> str:
    from tutelage.models import serialization

    if not isinstance(name, str):
        return ""
    return serialization.read_card(name).model if serialization.is_run(name) else name


def _sizes(teacher: str, student: str, count: int) -> list[str]:
    """Return the family's models whose sizes are nearest to equal ratios and that can be created."""
    from tutelage.models.loading import families

    for family in families():
        large, small = (re.fullmatch(family.pattern, name.replace("-", "_")) for name in (teacher, student))
        if large and small:
            ends = {key: (text, small[key]) for key, text in large.groupdict().items() if text or small[key]}
            if not all(text and re.fullmatch(r"[1-9]\d*", text) for pair in ends.values() for text in pair):
                return []
            if any(len(text) > 4 for pair in ends.values() for text in pair):
                return []  # no network has numbers of this size
            sizes = [(int(a), int(b)) for a, b in ends.values()]
            selected: list[str] = []
            for k in range(1, count + 1):
                nearest = _nearest([a * (b / a) ** (k / (count + 1)) for a, b in sizes], sizes)
                names = (_renamed(teacher, large, dict(zip(ends, numbers, strict=True))) for numbers in nearest)
                fits = (n for n in names if n not in (teacher, student, *selected) and _can_be_created(family, n))
                selected += [name for name in [next(fits, "")] if name]
            return selected
    return []


def _nearest(targets: list[float], sizes: list[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Return all numbers between the two sizes, sorted by the distance of their ratios from the targets."""

    def distance(numbers: tuple[int, ...]) -> float:
        return sum(abs(math.log(number / target)) for number, target in zip(numbers, targets, strict=True))

    return sorted(product(*(range(min(pair), max(pair) + 1) for pair in sizes)), key=distance)


def _renamed(name: str, match: re.Match[str], numbers: dict[str, int]) -> str:
    """Return the name with other numbers in place of its own."""
    for key, number in sorted(numbers.items(), key=lambda item: -match.start(item[0])):
        name = name[: match.start(key)] + str(number) + name[match.end(key) :]
    return name


def _can_be_created(family: Any, name: str) -> bool:
    import torch

    try:
        with torch.device("meta"):
            return family.from_name(name, classes=2) is not None
    except ConfigError:
        return False
