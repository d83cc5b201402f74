"""verify reports every difference from a published vector."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tutelage.cli import app
from tutelage.errors import DataError
from tutelage.verify import verify
from tutelage.verify.checker import reference_table

KD = Path(__file__).parents[1] / "vectors" / "kd__case0.json"
FITNET = KD.with_name("fitnet_hint__case0.json")


def faults_of_changed(tmp_path: Path, source: Path, change: Any) -> tuple[str, ...]:
    """Return the faults of a changed vector."""
    vector = json.loads(source.read_text())
    change(vector)
    (tmp_path / "v.json").write_text(json.dumps(vector))
    (outcome,) = verify(tmp_path)
    return outcome.faults


def test_sound_vectors_pass(tmp_path: Path) -> None:
    for path in (KD, FITNET):
        assert faults_of_changed(tmp_path, path, lambda v: None) == ()


def test_another_loss_is_reported(tmp_path: Path) -> None:
    def change(vector: Any) -> None:
        vector["expected"]["loss"] *= 1 + 1e-5

    (fault,) = faults_of_changed(tmp_path, KD, change)
    assert fault.startswith("loss ")


def test_another_temperature_is_reported(tmp_path: Path) -> None:
    faults = faults_of_changed(tmp_path, KD, lambda v: v["hyperparameters"].update(temperature=4.1))
    assert any(f.startswith("loss ") for f in faults)
    assert any("gradient of student_logits" in f for f in faults)


OPTIONS = {
    "annealing_kd": {"max_temperature": 7}, "cl_ilr": {"temperature": 2.0}, "dcm": {"gamma": 2.0},
    "dgkd": {"lambda": 0.5}, "endd": {"temperature": 2.5, "eps": 0.01}, "ffl": {"consistency_weight": 0.5},
    "ffl_fusion": {"temperature": 2.0}, "fpd": {"alpha": 0.3}, "frskd": {"beta": 50.0}, "hsakd": {"temperature": 2.0},
    "l2t_ww": {"beta": 0.4}, "lit": {"alpha": 0.5, "beta": 0.5}, "lsp": {"kernel": "l2"}, "mcl": {"tau": 0.2},
    "mixskd": {"lam": 0.6}, "mixskd_discriminator": {"reverse": True}, "okddip_attention": {"alpha": 0.5},
    "one_gate": {"temperature": 2.0}, "online_label_smoothing": {"alpha": 0.3}, "pcl": {"w": 0.5},
}  # fmt: skip


@pytest.mark.parametrize("method", OPTIONS)
def test_another_number_is_used_and_reported(method: str, tmp_path: Path) -> None:
    """References go by the hyper-parameters' names: each other number is used, and gives another result."""
    faults = faults_of_changed(
        tmp_path, KD.with_name(f"{method}__case0.json"), lambda v: v["hyperparameters"].update(OPTIONS[method])
    )
    assert all(fault.startswith(("loss ", "gradient of ")) for fault in faults), faults
    assert faults


def test_one_wrong_gradient_entry_is_reported(tmp_path: Path) -> None:
    def change(vector: Any) -> None:
        vector["expected"]["grad_parameters"]["conv.weight"]["data"][3] += 1e-3

    (fault,) = faults_of_changed(tmp_path, FITNET, change)
    assert "gradient of parameters.conv.weight" in fault


@pytest.mark.parametrize(
    "name",
    ["kd", "crd", "timm_logit", "adaad", "minilm_relation", "taid", "uld", "dino", "gkd_jsd_beta0", "sskd", "fgd"],
)
def test_an_unused_hyper_parameter_is_reported(name: str, tmp_path: Path) -> None:
    """In vectors of one loss, of several, of a model; numbers, lists and strings."""
    for value in (0.5, [1.0, 2.0], "word", False):
        vector = KD.with_name(f"{name}__case0.json")
        (fault,) = faults_of_changed(tmp_path, vector, lambda v, x=value: v["hyperparameters"].update(clipped=x))
        assert fault == "hyper-parameter clipped isn't used"
    assert faults_of_changed(tmp_path, vector, lambda v: v["hyperparameters"].update(clipped=None)) == ()


@pytest.mark.parametrize("where", ["extra", "parameters", ""])
@pytest.mark.parametrize(
    "name",
    ["kd", "crd", "timm_logit", "adaad", "distillkit_hidden_state", "one_gate", "mixskd_discriminator", "ofd", "simkd"],
)
def test_an_unused_input_is_reported(name: str, where: str, tmp_path: Path) -> None:
    """In vectors of one loss, of several, of a model, and of those whose weights or inputs have any names."""

    def change(vector: Any) -> None:
        inputs = vector["inputs"]
        inputs = inputs.setdefault(where, {}) if where else inputs
        inputs["clipped"] = {"dtype": "float64", "shape": [3], "data": [1.0, 2.0, 3.0]}

    (fault,) = faults_of_changed(tmp_path, KD.with_name(f"{name}__case0.json"), change)
    assert fault == f"input {f'{where}.clipped'.lstrip('.')} isn't used"


def test_a_weight_of_another_shape_is_not_used(tmp_path: Path) -> None:
    def change(vector: Any) -> None:
        vector["inputs"]["parameters"]["conv.weight"]["shape"] = [1, -1]

    faults = faults_of_changed(tmp_path, FITNET, change)
    assert "input parameters.conv.weight isn't used" in faults


MISFITS = {
    "adaad": ("steps", 13.0), "rslad_attack": ("steps", 2.5), "cmi": ("synthesis_batch_size", 5.2),
    "crd": ("n_data", 21), "gkd_jsd_beta05": ("reduction", "median"), "js_lm": ("lam", 1.2), "fpd": ("alpha", "x"),
    "ofd": ("scale", 0.0), "deit_soft": ("distillation_type", "softer"), "timm_token": ("distill_type", "softer"),
    "zskt": ("phase", "both"), "dfad": ("phase", "both"), "mean_teacher": ("consistency_type", "js"),
    "distillm2": ("loss_type", "distillm_v9"), "fkd": ("soft_label_type", "hard"),
}  # fmt: skip


@pytest.mark.parametrize("method", MISFITS)
def test_a_vector_that_can_not_be_computed_has_a_readable_fault(method: str, tmp_path: Path) -> None:
    name, value = MISFITS[method]
    path = KD.with_name(f"{method}__case0.json")
    faults = faults_of_changed(tmp_path, path, lambda v: v["hyperparameters"].update({name: value}))
    assert faults
    assert not any(re.match(r"\w*Error:", fault) for fault in faults), faults


DESCRIBED = {
    "fgfi": {"sizes": [8.0, 9.0], "ratios": [3.0]}, "crd": {"nce_k": 9}, "fkd": {"top": 4},
    "vid": {"init_pred_var": 6.5}, "ttm": {"temperature": 5.2}, "wttm": {"temperature": 5.2},
    "mixskd_discriminator": {"hidden": 9},
    "ranking_distillation": {"mu": 0.2, "num_items": 60}, "annealing_kd": {"T": 3.0}, "dino": {"nepochs": 3},
}  # fmt: skip


@pytest.mark.parametrize("method", DESCRIBED)
def test_names_without_effect_are_listed_as_such(method: str, tmp_path: Path) -> None:
    path = KD.with_name(f"{method}__case0.json")
    assert faults_of_changed(tmp_path, path, lambda v: v["hyperparameters"].update(DESCRIBED[method])) == ()
    assert {*DESCRIBED[method]} <= {*reference_table()[method].ignored}


@pytest.mark.parametrize("where", ["hyperparameters", "extra"])
@pytest.mark.parametrize("form", ["tensor", "list"])
@pytest.mark.parametrize("name", ["textbrewer_kd_ce", "textbrewer_kd_mse"])
def test_temperatures_may_be_by_sample(name: str, form: str, where: str, tmp_path: Path) -> None:
    """Temperatures may be a vector, one per sample: equal ones give the published number."""
    values = {"dtype": "float64", "shape": [6], "data": [8.0] * 6}
    for change, passes in ((0.0, True), (1.0, False)):

        def several(v: Any, change: float = change) -> None:
            each = values | {"data": [8.0 + change, *[8.0] * 5]}
            if where == "extra":
                v["inputs"]["extra"]["temperature"] = each
                v["hyperparameters"]["temperature"] = None
            else:
                v["hyperparameters"]["temperature"] = each if form == "tensor" else each["data"]

        assert (faults_of_changed(tmp_path, KD.with_name(f"{name}__case0.json"), several) == ()) == passes


@pytest.mark.parametrize("option", ["label_smoothing", "smoothing"])
@pytest.mark.parametrize("name", ["kd_total", "deit_soft", "timm_logit", "timm_token", "lwf", "mlkd", "tf_kd_self"])
def test_the_task_loss_may_have_label_smoothing(name: str, option: str, tmp_path: Path) -> None:
    path = KD.with_name(f"{name}__case0.json")
    assert faults_of_changed(tmp_path, path, lambda v: v["hyperparameters"].update({option: 0.0})) == ()
    faults = faults_of_changed(tmp_path, path, lambda v: v["hyperparameters"].update({option: 0.1}))
    assert faults[0].startswith("loss ")
    assert all("isn't used" not in fault for fault in faults)


def test_an_unknown_method_fails(tmp_path: Path) -> None:
    (fault,) = faults_of_changed(tmp_path, KD, lambda v: v.update(method="kdd"))
    assert "unknown loss 'kdd'" in fault


@pytest.mark.parametrize("text", ["", "{", "[]", '{"method": "kd"}'])
def test_a_torn_vector_fails(tmp_path: Path, text: str) -> None:
    (tmp_path / "v.json").write_text(text)
    (outcome,) = verify(tmp_path)
    assert "no reference vector" in outcome.faults[0]


def test_nothing_to_verify_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no vectors"):
        list(verify(tmp_path))


def test_the_command_counts_passed_and_failed_vectors(tmp_path: Path) -> None:
    shutil.copy(KD, tmp_path)
    result = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "1 passed, 0 failed")
    (tmp_path / "torn.json").write_text("{")
    result = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "1 passed, 1 failed"
    assert "torn: " in result.stdout
