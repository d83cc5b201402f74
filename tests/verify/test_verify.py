"""verify notices whatever is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tutelage.cli import app
from tutelage.errors import DataError
from tutelage.verify import verify

KD = Path(__file__).parents[1] / "vectors" / "kd__case0.json"
FITNET = KD.with_name("fitnet_hint__case0.json")


def changed(tmp_path: Path, source: Path, change: Any) -> tuple[str, ...]:
    """The faults of a vector with a change in it."""
    vector = json.loads(source.read_text())
    change(vector)
    (tmp_path / "v.json").write_text(json.dumps(vector))
    (outcome,) = verify(tmp_path)
    return outcome.faults


def test_sound_vectors_pass(tmp_path: Path) -> None:
    for path in (KD, FITNET):
        assert changed(tmp_path, path, lambda v: None) == ()


def test_another_loss_is_noticed(tmp_path: Path) -> None:
    def change(vector: Any) -> None:
        vector["expected"]["loss"] *= 1 + 1e-5

    (fault,) = changed(tmp_path, KD, change)
    assert fault.startswith("loss ")


def test_another_temperature_is_noticed(tmp_path: Path) -> None:
    faults = changed(tmp_path, KD, lambda v: v["hyperparameters"].update(temperature=4.1))
    assert any(f.startswith("loss ") for f in faults)
    assert any("gradient of student_logits" in f for f in faults)


def test_one_wrong_gradient_entry_is_noticed(tmp_path: Path) -> None:
    def change(vector: Any) -> None:
        vector["expected"]["grad_parameters"]["conv.weight"]["data"][3] += 1e-3

    (fault,) = changed(tmp_path, FITNET, change)
    assert "gradient of parameters.conv.weight" in fault


@pytest.mark.parametrize(
    "name",
    ["kd", "crd", "timm_logit", "adaad", "minilm_relation", "taid", "uld", "dino", "gkd_jsd_beta0", "sskd", "fgd"],
)
def test_a_hyper_parameter_that_nothing_uses_is_noticed(name: str, tmp_path: Path) -> None:
    """In vectors of one loss, of several, of a model; numbers, lists and words."""
    for value in (0.5, [1.0, 2.0], "word", False):
        vector = KD.with_name(f"{name}__case0.json")
        (fault,) = changed(tmp_path, vector, lambda v, x=value: v["hyperparameters"].update(clipped=x))
        assert fault == "hyper-parameter clipped isn't used"
    assert changed(tmp_path, vector, lambda v: v["hyperparameters"].update(clipped=None)) == ()


def test_an_unknown_method_fails(tmp_path: Path) -> None:
    (fault,) = changed(tmp_path, KD, lambda v: v.update(method="kdd"))
    assert "unknown loss 'kdd'" in fault


@pytest.mark.parametrize("text", ["", "{", "[]", '{"method": "kd"}'])
def test_a_torn_vector_fails(tmp_path: Path, text: str) -> None:
    (tmp_path / "v.json").write_text(text)
    (outcome,) = verify(tmp_path)
    assert "no reference vector" in outcome.faults[0]


def test_nothing_to_verify_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no vectors"):
        list(verify(tmp_path))


def test_the_command_counts_and_tells(tmp_path: Path) -> None:
    shutil.copy(KD, tmp_path)
    done = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "1 passed, 0 failed")
    (tmp_path / "torn.json").write_text("{")
    done = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-1] == "1 passed, 1 failed"
    assert "torn: " in done.stdout
