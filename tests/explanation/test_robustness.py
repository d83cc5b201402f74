import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tutelage.explanation import robustness
from tutelage.explanation.base import NotApplicable
from tutelage.explanation.corruptions import SEVERITIES, for_channels


def test_corruption_is_in_pixels_and_normalised_again(opened):
    batch = next(opened.data.batches("test", 8, train=False))
    plain = robustness.corrupted(batch, opened.data, lambda x, index, severity: x, 1)
    assert torch.allclose(plain.inputs, batch.inputs, atol=1e-5)
    white = robustness.corrupted(batch, opened.data, lambda x, index, severity: x + 2, 1)
    expected = (1 - torch.tensor(opened.data.mean)) / torch.tensor(opened.data.std)
    assert torch.allclose(white.inputs, expected.view(-1, 1, 1).expand_as(white.inputs), atol=1e-5)


def test_metrics_of_clean_and_corrupted_images(figures, run_folder, opened):
    made = figures(robustness)
    values = made["corruptions"].values
    result = json.loads((run_folder / "result.json").read_text())
    for role, clean in values["none"].items():
        assert clean == pytest.approx(result[role]["values"][0], abs=1e-6)
        assert set(values[role]) == set(for_channels(opened.data.channels))
        assert all(len(each) == len(SEVERITIES) for each in values[role].values())
    means = made["severity"].values["student"]
    assert means[0] == values["none"]["student"]
    assert means[5] == pytest.approx(sum(x[4] for x in values["student"].values()) / len(values["student"]))


def test_a_network_that_no_corruption_harms_loses_by_none():
    assert robustness.name_worst("taught", {"blur": 0.1, "jpeg": 0.2}) == "taught loses most by jpeg"
    assert robustness.name_worst("taught", {"blur": 0.0, "jpeg": -0.1}) == "taught loses by none of them"


@pytest.mark.parametrize(
    ("higher_is_better", "words"), [(True, "loses by none of them"), (False, "loses most by jpeg")]
)
def test_a_loss_is_in_the_direction_of_the_metric(opened, higher_is_better, words):
    run = SimpleNamespace(
        task=SimpleNamespace(metric="m", higher_is_better=higher_is_better), students=["student"], labels=opened.labels
    )
    values = {"student": {"blur": [0.5, 0.5], "jpeg": [0.5, 0.7]}}
    assert words in robustness._each(run, {"student": 0.5}, values).reading


def test_other_inputs_are_refused_with_the_reason(opened):
    with pytest.raises(NotApplicable, match="its inputs are table data"):
        robustness.figures(replace(opened, data=replace(opened.data, modality="table", size=(), augment="none")))
