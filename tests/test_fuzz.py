"""Whatever is given: it is allowed, or refused in a sentence; nothing else is raised, and nothing passes in silence."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fuzzing import BASE, EVERYTHING, KINDS, PARTS, allowed, asked, is_taken_rightly, near, options, value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.config.schema import check, read
from tutelage.errors import TutelageError
from tutelage.runs.run import Run

FEW = settings(
    max_examples=8, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip


def config_of(keys: dict[str, Any]) -> Any:
    """The configuration, or the sentences of its refusal."""
    try:
        return check(keys)
    except TutelageError as error:
        return str(error)


@pytest.mark.parametrize("key", KINDS)
@pytest.mark.parametrize("number", range(4))
def test_what_a_key_is_given_is_allowed_or_refused_by_name(key, number):
    for said in EVERYTHING[number::4]:
        found = config_of(BASE | {key: said})
        if isinstance(found, str):
            assert key.removesuffix("s") in found, found
        else:
            assert is_taken_rightly(key, said, found), (key, said)


@pytest.mark.parametrize("key", KINDS)
def test_so_are_values_at_its_bounds(key):
    @FEW
    @given(near(KINDS[key]))
    def of(said):
        found = config_of(BASE | {key: said})
        assert is_taken_rightly(key, said, found) if not isinstance(found, str) else found.strip()

    of()


@pytest.mark.parametrize("key", KINDS)
def test_so_are_words(key):
    texts = [text for text in EVERYTHING if isinstance(text, str)]

    @FEW
    @given(st.sampled_from(texts) | st.text(max_size=8))
    def of(text):
        with suppress(TutelageError):
            found = read(words=[f"{k}={v}" for k, v in BASE.items()] + [f"{key}={text}"])
            assert allowed(getattr(found, key), KINDS[key])

    of()


@FEW
@given(st.dictionaries(st.sampled_from(sorted(KINDS)), st.sampled_from(EVERYTHING), max_size=6))
def test_so_are_several_keys_at_once(keys):
    config_of(keys)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: "/".join(part))
def test_options_are_allowed_or_refused(part):
    kinds = options(*part)
    told = [st.tuples(st.just(option), value(kind)) for option, kind in kinds.items()] or [st.just(("none", 3))]

    @settings(FEW, max_examples=2 * len(told))
    @given(st.one_of(told))
    def of(said):
        option, value = said
        found = config_of(asked(*part, {option: value}))
        assert isinstance(found, str) or allowed(value, kinds[option]), said

    of()


TRIED = {key: kind for key, kind in KINDS.items() if key not in ("devices", "strategy")}
"""All but those that begin other processes."""


@settings(FEW, max_examples=40)
@given(st.lists(st.one_of([st.tuples(st.just(key), value(kind)) for key, kind in TRIED.items()]), max_size=2).map(dict))
def test_what_is_allowed_can_be_tried_or_is_refused(keys):
    with suppress(TutelageError):
        Run(check(BASE | keys), folder=Path()).dry_run()


@pytest.mark.parametrize("name", ["stage:a@b", "stage:teacher@0", "stage:teacher@", "stage:a@" + "9" * 5000])
@pytest.mark.parametrize("key", ["teacher", "student", "student_weights"])
def test_an_epoch_that_is_none_is_refused_without_stages_too(key, name):
    with pytest.raises(TutelageError):
        Run(check(BASE | {key: name}), folder=Path()).dry_run()
