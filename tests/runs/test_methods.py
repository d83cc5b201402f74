"""Each loss works in a run as `tutelage list losses` says, and is refused where it says that it doesn't."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import communities, streets
from typer.testing import CliRunner

from tutelage.cli import app
from tutelage.config.methods import method_support
from tutelage.config.schema import check
from tutelage.errors import ConfigError, TutelageError
from tutelage.recipes import has
from tutelage.runs.run import Run
from tutelage.utils import registry

LOSSES = registry.catalogue("losses")
BY_METHOD = [
    name
    for name, entry in LOSSES.items()
    if not entry.only_for
    and not has(name)
    and not method_support(entry).startswith("for ")  # other tasks' tests run them
]
BY_LOOP = [name for name, entry in LOSSES.items() if entry.only_for]

DIGITS = {"data": "digits", "epochs": 1, "labels_per_class": 2, "baseline": False}
PATCHES = {"teacher": "timm:vit_tiny_patch16_224", "student": "timm:vit_tiny_patch16_224", "size": 32}
PAIRS = ({"teacher": "resnet20", "student": "resnet8"}, {"teacher": "cnn4", "student": "cnn4"}, PATCHES)
BLOCKS = {side: ["blocks.3", "blocks.7", "blocks.11"] for side in ("student", "teacher")}
OPTIONS = {"ofa_kd": {"classes": 10}, "minilm_relation": {"num_relation_heads": 3, **BLOCKS}, "token_mmd": BLOCKS}
"""What has to be said of these, for ten classes and three heads."""

BESIDE = {
    "yes": {},
    "teacher=[a,b]": {"teacher": ["cnn4", "cnn8"]},
    "scheme=together": {"scheme": "together", "teacher": None},
}
"""What a run has, by what the list says."""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    data = communities(tmp_path_factory.mktemp("nodes") / "graph.npz")
    return DIGITS | {"data": data, "teacher": "gcn-2-8", "student": "gcn-2-8", "batch_size": 4}


@pytest.fixture(scope="module")
def segmentation(tmp_path_factory):
    return DIGITS | streets(tmp_path_factory.mktemp("streets"), 12) | {"batch_size": 4, "labels_per_class": None}


def ways_to_run(name, segmentation, nodes):
    """Configurations, one of which should run this loss as it is said to."""
    words = {"method": [{"name": name, **OPTIONS.get(name, {})}]} | BESIDE[method_support(LOSSES[name])]
    yield from (DIGITS | pair | words for pair in PAIRS)
    yield segmentation | words
    yield nodes | words


def error_of(keys) -> str:
    try:
        Run(check(keys), None, Path()).dry_run()
    except TutelageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", BY_METHOD)
def test_a_run_uses_it_as_the_list_says(name, segmentation, nodes):
    errors = []
    for keys in ways_to_run(name, segmentation, nodes):
        errors.append(error_of(keys))
        if not errors[-1]:
            return
    pytest.fail("\n".join(errors))


@pytest.mark.parametrize("name", BY_LOOP)
@pytest.mark.parametrize("scheme", ["offline", "together", "two_views"])
def test_a_loss_for_own_loops_is_refused_with_what_it_is_for(name, scheme):
    teacher = {"teacher": "cnn4"} if scheme == "offline" else {"teacher": None}
    with pytest.raises(ConfigError, match=rf"method={name}: it is for {LOSSES[name].only_for}.*loop of your own"):
        check(DIGITS | teacher | {"student": "cnn2", "method": f"0.5*{name}", "scheme": scheme})


SAID = {
    "kd": "yes",
    "dml": "yes",
    "camkd_feature": "teacher=[a,b]",
    "dml_joint": "scheme=together",
    "iad": "no: attacked images",
}


@pytest.mark.parametrize(("name", "said"), SAID.items())
def test_list_and_show_say_it(name, said, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    for words in (["list", "losses", name], ["show", name]):
        assert said in CliRunner().invoke(app, words).output


def test_what_the_registry_reads_is_what_the_classes_are():
    for entry in LOSSES.values():
        loss = entry.load()
        assert (entry.list_inputs, entry.only_for, entry.needs_teacher) == (
            loss.list_inputs,
            loss.only_for,
            loss.needs_teacher,
        )


def test_a_scheme_with_losses_of_its_own_refuses_a_method():
    keys = DIGITS | {"student": "cnn2", "teacher": None, "scheme": "student_friendly"}
    assert "remove method" in error_of(keys | {"method": "at"})
    assert not error_of(keys)
