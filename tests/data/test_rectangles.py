"""Images may be rectangular, wherever a size is told."""

import pytest

import tutelage
from tutelage.config.schema import read
from tutelage.data import load
from tutelage.errors import ConfigError
from tutelage.models import serialization
from tutelage.utils.key_types import parse_size

RUN = {"data": "digits", "student": "cnn2", "teacher": "cnn2", "epochs": 1, "limit": 40, "batch_size": 20}


@pytest.mark.parametrize(
    ("said", "meant", "kept"),
    [
        ("180x240", (180, 240), "180x240"),
        ("180X240", (180, 240), "180x240"),
        ("180×240", (180, 240), "180x240"),
        ("180 x 240", (180, 240), "180x240"),
        ([180, 240], (180, 240), "180x240"),
        ((180, 240), (180, 240), "180x240"),
        ("64x64", (64, 64), 64),
        ("64", (64, 64), 64),
        (64, (64, 64), 64),
    ],
)
@pytest.mark.parametrize("key", ["size", "teacher_size"])
def test_forms_of_a_size(said, meant, kept, key):
    assert parse_size(said) == meant
    config = read(**RUN | {key: said})
    assert getattr(config, key) == kept
    assert getattr(read(words=[f"{key}={kept}", "student=cnn2"]), key) == kept


@pytest.mark.parametrize(
    "said",
    [
        *("180x", "x240", "0x9", "9x0", "4097", "9x4097", "1x2x3", "ax9", "-1", "1.5", "010", "", True, 0, -3, 1.5),
        *([], [1], [1, 2, 3], [0, 5], [True, 5], ["5", 5], {"height": 5}),
    ],
)
@pytest.mark.parametrize("key", ["size", "teacher_size"])
def test_what_is_no_size_is_refused(said, key):
    with pytest.raises(ConfigError, match=key):
        read(**RUN | {key: said})


@pytest.mark.parametrize("size", [(6, 10), "6x10"])
def test_data_of_a_size(size):
    data = load("digits", size=size)
    assert data.size == (6, 10)
    assert next(data.batches("train", 4)).inputs.shape == (4, 1, 6, 10)


def test_a_run_its_card_its_evaluation_and_a_teacher_of_another_shape(tmp_path):
    made = tutelage.train(
        "cnn2", out=tmp_path / "a", size="6x10", **{k: RUN[k] for k in ("epochs", "limit", "batch_size")}
    )
    assert serialization.read_card(made.folder).size == (6, 10)
    assert tutelage.evaluate(made.folder).values["accuracy"] == pytest.approx(
        tutelage.evaluate(made.folder, size=[6, 10]).values["accuracy"]
    )
    taught = tutelage.distill(
        **RUN | {"teacher": str(made.folder), "size": "12x8", "teacher_size": "6x10", "out": str(tmp_path / "b")}
    )
    assert serialization.read_card(taught.folder).size == (12, 8)
    assert "12x8" in (taught.folder / "config.yaml").read_text()
    assert tutelage.resume(taught.folder).result["student"]["accuracy"] == taught.result["student"]["accuracy"]
