from dataclasses import replace

import pytest

from tutelage import data as datasets
from tutelage.explanation import transfer
from tutelage.explanation.base import NotApplicable


def test_features_of_digits_tell_digits_apart(opened):
    probe = datasets.load("digits", limit=300).normalised_by(opened.data.mean, opened.data.std)
    (figure,) = transfer.figures(replace(opened, probe=probe))
    assert figure.values["chance"] == pytest.approx(0.1, abs=0.03)
    for role in ("teacher", "baseline", "student"):
        assert all(value > 0.15 for value in figure.values[role].values)
    assert len(figure.values["teacher"].values) == 1, "both seeds have one teacher"
    assert len(figure.values["student"].values) == 2


def test_without_other_data_it_is_left_out(opened):
    with pytest.raises(NotApplicable, match="probe=DATA"):
        transfer.figures(opened)
