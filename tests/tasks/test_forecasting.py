"""Windows of series: splits by time, forecasts and classes, metrics, refusals and runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import Crash, CrashAt

import tutelage
from tutelage.config.schema import check
from tutelage.data import load
from tutelage.data.value_targets import ValueTargets
from tutelage.errors import ConfigError, DataError
from tutelage.runs.data import load_data
from tutelage.tasks.forecast_metrics import ForecastMetrics, naive_mase
from tutelage.tasks.forecasting import Forecasting

READING = {"window": 12, "horizon": 4, "time": "time", "season": 6}


def rows_of(count=200, start="2024-01-01T00"):
    noise = np.random.default_rng(0).normal(size=(count, 2))
    for i in range(count):
        wave = np.sin(2 * np.pi * i / 6) + 0.1 * noise[i]
        yield [
            f"{np.datetime64(start) + np.timedelta64(i, 'h')}",
            f"{10 + 3 * wave[0]:.5f}",
            f"{wave[1]:.5f}",
            "ab"[i // 20 % 2],
        ]


def table(path, rows=None, header="time,load,heat,state"):
    rows = [*rows_of()] if rows is None else rows
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]), encoding="utf-8")
    return f"windows:{path}"


def numbers(name):
    return np.genfromtxt(name.partition(":")[2], delimiter=",", skip_header=1, usecols=(1, 2))


def test_windows_are_split_by_time_and_none_is_in_two_parts(tmp_path):
    name = table(tmp_path / "a.csv")
    data, x = load(name, target="load", drop=["state"], reading=READING), numbers(name)
    assert (data.task, data.modality, data.channels, data.size) == ("forecasting", "series", 2, (12,))
    assert data.values.names == ("load+1", "load+2", "load+3", "load+4")
    assert [len(data.train), len(data.val), len(data.test)] == [140 - 15, 20 - 15, 40 - 15]
    for split, first in (("train", 0), ("val", 140), ("test", 160)):
        batch = next(data.batches(split, 3, train=False))
        inputs = batch.inputs * torch.tensor(data.std)[:, None] + torch.tensor(data.mean)[:, None]
        assert torch.allclose(inputs[1].double(), torch.tensor(x[first + 1 : first + 13].T), atol=1e-4)
        assert torch.allclose(
            data.values.restore(batch.targets)[1], torch.tensor(x[first + 13 : first + 17, 0]), atol=1e-4
        )
    both = load(name, target=["load", "heat"], drop=["state"], reading=READING | {"stride": 5})
    assert both.values.names[:3] == ("load+1", "heat+1", "load+2")
    assert len(both.train) == 25
    naive = np.abs(x[6:140] - x[:134]).mean(0)
    assert both.train.form.scale == pytest.approx(naive, rel=1e-4)


def test_series_of_several_groups_and_classes_of_windows(tmp_path):
    rows = [[*row, group] for group in ("one", "two") for row in rows_of(100)]
    name = table(tmp_path / "a.csv", rows, "time,load,heat,state,place")
    data = load(name, target="load", drop=["state"], group="place", reading=READING | {"window": 5, "horizon": 3})
    assert len(data.train) == 2 * (70 - 7)
    assert not {*data.train.starts.tolist()} & {*range(63, 100)}
    classes = load(table(tmp_path / "b.csv"), target="state", reading={"window": 8, "time": "time"})
    assert (classes.task, classes.classes, classes.channels) == ("classification", ("a", "b"), 2)
    assert len(classes.train) == 7 * 13, "those with one class"


def test_metrics_are_the_usual_ones():
    y, s = torch.randn(20, 6, dtype=torch.float64), torch.randn(20, 6, dtype=torch.float64)
    names = tuple(f"{c}+{h}" for h in (1, 2, 3) for c in "ab")
    values = ValueTargets(names, (1.0,) * 6, (2.0, 3.0) * 3)
    metrics = ForecastMetrics(values, (0.5, 4.0))
    for part in (slice(0, 7), slice(7, 20)):
        metrics.update(s[part], y[part])
    found, errors = metrics.compute(), (s - y).abs().unflatten(1, (3, 2))
    relative = errors * torch.tensor([2.0 / 0.5, 3.0 / 4.0])
    assert found["mase"].item() == pytest.approx(relative.mean().item())
    assert found["mae"].item() == pytest.approx(errors.mean().item())
    assert found["mse"].item() == pytest.approx(errors.square().mean().item())
    assert found["steps"].tolist() == pytest.approx(relative.mean((0, 2)).tolist())


def changed(row, column, cell):
    rows = [*rows_of()]
    rows[row][column] = cell
    return rows


CLASSES = {"target": "state", "drop": []}
LENGTH = {"window": 8, "time": "time"}
REFUSED = [
    (changed(50, 1, ""), {}, {}, "line 52, column 'load': .*missing"),
    (changed(50, 2, "1e300"), {}, {}, "line 52, column 'heat': 1e.300 is beyond 3e38"),
    ([[*row[:2], 1e9 + float(row[2]), row[3]] for row in rows_of()], {}, {}, "heat varies by 0.\\d+ around 1e.09"),
    (None, CLASSES, {"window": 8}, "reading: horizon, season is for forecasts, and state is a class"),
    (changed(50, 2, "nan"), {}, {}, "line 52, column 'heat': .*missing"),
    (
        [row for n, row in enumerate(rows_of()) if n != 50],
        {},
        {},
        "line 52, column 'time': comes 7200 after the row before",
    ),
    (changed(50, 0, "soon"), {}, {}, "expected times of ISO 8601"),
    ([*rows_of()][::-1], {}, {}, "the times don't rise from row to row: sort them"),
    ([*rows_of(60)], {}, {}, "no window of 16 rows fits into the rows of val"),
    (None, {"target": "lod"}, {}, "unknown column 'lod': did you mean 'load'"),
    (None, {"target": ()}, {}, "name the columns to forecast"),
    (None, {"target": ["load", "load"]}, {}, "'load' is named twice"),
    (None, {"target": "load", "drop": ["load"]}, {}, "'load' is named twice"),
    (None, {"target": "time"}, {}, "'time' is named twice"),
    (
        [[f"2000-0{n % 9 + 1}" if n < 9 else f"2{n:03}-01", *row[1:]] for n, row in enumerate(rows_of())],
        {},
        {},
        "leave time out if the steps are months",
    ),
    (None, {"group": "state"}, {}, "line 42, column 'state': the rows of 'a' aren't together"),
    (None, {}, {"window": 1}, "window=1: expected a number of 2 or more"),
    (None, {}, {"windows": 8}, "unknown option of data .*: reading 'windows'"),
    ([[*row[:1], 5, *row[2:]] for row in rows_of()], {}, {}, "the naive forecast makes no error in training"),
    (
        [[*row[:3], "ab"[n % 2]] for n, row in enumerate(rows_of())],
        CLASSES,
        LENGTH,
        "no window of .* has one state in all its rows",
    ),
]


@pytest.mark.parametrize(("rows", "keys", "reading", "message"), REFUSED, ids=[case[3][:40] for case in REFUSED])
def test_tables_that_are_no_series_are_refused(tmp_path, rows, keys, reading, message):
    keys = {"target": "load", "drop": [] if "group" in keys else ["state"]} | keys
    with pytest.raises((DataError, ConfigError), match=message):
        load(table(tmp_path / "a.csv", rows), reading=reading if reading is LENGTH else READING | reading, **keys)


def test_times_may_have_an_offset(tmp_path):
    rows = [[f"{row[0]}:00+02:00", *row[1:]] for row in rows_of()]
    plain, offset = (load(table(tmp_path / f"{n}.csv", x), reading=READING, target="load", drop=["state"])
                     for n, x in enumerate((None, rows)))  # fmt: skip
    assert plain.train.series.equal(offset.train.series)


def test_windows_without_labels_may_join_as_a_stream(tmp_path):
    name = table(tmp_path / "a.csv")
    keys = {"data": name, "target": "load", "drop": ["state"], "reading": READING, "limit": 20}
    networks = {"student": "tcn-2-4", "teacher": "gru-1-4", "method": "logit_mse"}
    data = load_data(check(keys | networks | {"streams": {"unlabelled": {"source": name}}}))
    assert (
        Forecasting.from_data(data).scale == load(name, target="load", drop=["state"], reading=READING).train.form.scale
    )


def test_networks_know_the_order_of_times():
    for name in ("gru-2-8", "tcn-3-8"):
        model = tutelage.models.create(name, classes=3, channels=2, size=(20,)).model.eval()
        x = torch.randn(4, 2, 20)
        assert not torch.allclose(model(x), model(x.flip(2)))
    late = torch.cat([x[:, :, :19], x[:, :, 19:] + 1], 2)
    features = [tutelage.FeatureExtractor(model, ["layer3"])(y).features["layer3"] for y in (x, late)]
    assert torch.equal(features[0][:, :, :19], features[1][:, :, :19]), "no time sees later ones"


def test_runs_are_cached_resumed_and_reported(tmp_path):
    keys = {"data": table(tmp_path / "a.csv"), "target": "load", "drop": ["state"], "reading": READING}
    keys |= {"device": "cpu", "batch_size": 25, "epochs": 2}
    teach = {"teacher": "gru-1-16", "teacher_epochs": 6, "method": "logit_mse"}
    run = tutelage.distill("tcn-2-4", out=str(tmp_path / "run"), **keys, **teach)
    cache = {"cache": str(tmp_path / "cache"), "cache_storage": "exact", "baseline": False}
    cached = tutelage.distill("tcn-2-4", out=str(tmp_path / "cached"), **keys, **teach, **cache)
    one, two = (load_file(x.folder / "student.safetensors") for x in (run, cached))
    assert all(torch.equal(one[name], two[name]) for name in one)
    data = load(*[keys["data"]], **{key: keys[key] for key in ("target", "drop", "reading")})
    assert run.result["teacher"]["mase"] < naive_mase(data.test, data.train.form.scale)
    assert tutelage.evaluate(run.folder).values["mase"] == pytest.approx(run.result["student"]["mase"])
    assert np.load(run.folder / "student-0/predictions.npz")["estimates"].shape == (25, 4)
    report = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "load by time ahead" in report
    with pytest.raises(Crash):
        tutelage.train("tcn-2-4", out=str(tmp_path / "cut"), callbacks=[CrashAt(7)], **keys)
    whole, resumed = tutelage.train("tcn-2-4", out=str(tmp_path / "whole"), **keys), tutelage.resume(tmp_path / "cut")
    one, two = (load_file(x.folder / "student.safetensors") for x in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)
