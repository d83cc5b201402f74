"""Runs whose student or teacher is fitted in one go, on tables."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.naive_bayes import GaussianNB
from typer.testing import CliRunner

import tutelage
from tutelage import cli
from tutelage import data as datasets
from tutelage.config.schema import check
from tutelage.errors import CheckpointError, ConfigError
from tutelage.models.estimators import FittedEstimator, from_sklearn, save
from tutelage.models.estimators.other import OtherEstimator, save_other
from tutelage.runs.fitted import Samples
from tutelage.runs.preflight import check as preflight
from tutelage.runs.run import Run
from tutelage.training.callbacks import Callback


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(240, 2))
    lines = ["age,income,town,price,kind"]
    for i, (a, b) in enumerate(x):
        town = ("north", "south")[i % 2]
        price = 100 + 20 * a * b + 10 * (town == "north")
        lines.append(f"{a:.4f},{'' if i % 11 == 0 else round(b, 4)},{town},{price:.3f},{'yes' if a + b > 0 else 'no'}")
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def distil(file, tmp_path, student, teacher, target="price", **keys):
    keys = {"target": target, "drop": ["kind" if target == "price" else "price"], "epochs": 2, "device": "cpu"} | keys
    return tutelage.distill(student, teacher, f"csv:{file}", out=str(tmp_path / "run"), progress=False, **keys)


def phase(run, name="student-0"):
    return json.loads((run.folder / name / "phase.json").read_text())


@pytest.mark.parametrize("student", ["tree:depth=3", "forest:trees=5", "boosting:trees=10", "linear"])
@pytest.mark.parametrize("target", ["price", "kind"])
def test_each_kind_is_taught_evaluated_and_reported(file, tmp_path, student, target):
    run = distil(file, tmp_path, student, "boosting:trees=20", target)
    metric = {"price": "rmse", "kind": "accuracy"}[target]
    assert run.result["student"][metric] == pytest.approx(phase(run)["figures"][metric])
    facts = phase(run)["fit"]
    assert facts["options"]["alpha"] == 0.9
    assert facts["fidelity"].keys() == ({"r2", "rmse"} if target == "price" else {"agreement", "kl"})
    assert ("stability" in facts) == student.startswith("tree")
    assert (run.folder / "student-0" / "tree.svg").exists() == student.startswith("tree")
    text = (run.folder / "report.html").read_text("utf-8")
    assert "Rules and fidelity" in text
    assert "can&#39;t be read" not in text
    assert isinstance(run.student, FittedEstimator)
    first_rule = (run.folder / "student-0" / "rules.txt").read_text().splitlines()[0]
    assert first_rule in text.replace("&#34;", '"').replace("&lt;", "<")


def test_a_saved_student_reads_a_table(file, tmp_path):
    run = distil(file, tmp_path, "tree", "boosting:trees=20")
    model = tutelage.load(run.folder)
    rows = model.card.read_table(file)
    values = model.card.restore(model(rows))[:, 0]
    lines = [line.split(",") for line in file.read_text().splitlines()[1:]]
    prices = torch.tensor([float(line[3]) for line in lines], dtype=torch.float64)
    assert np.corrcoef(values, prices)[0, 1] > 0.6
    predictions = np.load(run.folder / "student-0" / "predictions.npz")
    data = datasets.load(f"csv:{file}", target="price", drop=["kind"])
    assert values[data.test.rows[predictions["index"]]].numpy() == pytest.approx(predictions["estimates"][:, 0])


def test_a_network_is_taught_by_a_fitted_teacher(file, tmp_path):
    run = distil(file, tmp_path, "mlp-8", "forest:trees=5", "kind")
    assert "fit" in phase(run, "teacher")
    assert "fit" not in phase(run)
    assert run.result["teacher"]["accuracy"] > 0.7
    assert "Rules and fidelity" not in (run.folder / "report.html").read_text("utf-8")


def test_several_teachers_of_which_one_is_fitted(file, tmp_path):
    run = distil(file, tmp_path, "mlp-8", ["forest:trees=5", "mlp-16"], "kind", teacher_epochs=1)
    assert "fit" in phase(run, "teacher0")
    assert phase(run, "teacher1")["steps"] > 0


def test_a_tree_is_taught_by_a_network(file, tmp_path):
    run = distil(file, tmp_path, "tree:depth=2,pseudo=200", "mlp-8", "kind", teacher_epochs=2)
    assert phase(run)["fit"]["options"]["pseudo"] == 200
    assert phase(run, "baseline-0")["fit"].get("fidelity") is None


def estimator(file, kind, target="kind"):
    data = datasets.load(f"csv:{file}", target=target, drop=["price" if target == "kind" else "kind"])
    x = data.train.inputs[data.train.rows].numpy()
    y = data.train.targets[data.train.rows].numpy()
    y = np.array(data.classes)[y] if target == "kind" else y[:, 0]
    return kind.fit(x, y), data


def test_the_teacher_is_a_file_or_an_object(file, tmp_path):
    pytest.importorskip("skops")
    forest, data = estimator(file, RandomForestClassifier(5, random_state=0))
    bayes, _ = estimator(file, GaussianNB())
    save(tmp_path / "t.safetensors", from_sklearn(forest, data.input_names))
    save_other(tmp_path / "t.skops", OtherEstimator(bayes))
    x, y = data.test.inputs[data.test.rows].numpy(), np.array(data.classes)[data.test.labels]
    for known, teachers in (forest, ["t.safetensors", forest]), (bayes, ["t.skops", bayes]):
        for k, teacher in enumerate(teachers):
            name = f"sklearn:{tmp_path / teacher}" if isinstance(teacher, str) else teacher
            for student in ("tree:depth=2", "mlp-8"):
                folder = tmp_path / f"{type(known).__name__}{k}{student[:3]}"
                run = distil(file, folder, student, name, "kind")
                assert run.result["teacher"]["accuracy"] == pytest.approx(float((known.predict(x) == y).mean()))


def test_a_regressor_teaches_in_its_own_units(file, tmp_path):
    forest, data = estimator(file, RandomForestRegressor(5, random_state=0), "price")
    run = distil(file, tmp_path, "mlp-8", forest, method="logit_mse")
    x, y = data.test.inputs[data.test.rows], data.test.values[:, 0]
    expected = float(np.sqrt(np.mean((forest.predict(x.numpy()) - y.numpy()) ** 2)))
    assert run.result["teacher"]["rmse"] == pytest.approx(expected, rel=1e-4)


def test_a_teacher_of_other_classes_or_columns_is_refused(file, tmp_path):
    forest, data = estimator(file, RandomForestClassifier(2, random_state=0))
    with pytest.raises(ConfigError, match="knows the classes"):
        distil(file, tmp_path, "mlp-8", forest, "town")
    with pytest.raises(ConfigError, match="without age"):
        distil(
            file, tmp_path, "mlp-8", from_sklearn(forest, data.input_names), "kind", drop=["price", "age"]
        )  # fmt: skip
    with pytest.raises(CheckpointError, match="is missing"):
        distil(file, tmp_path, "mlp-8", "sklearn:none.safetensors", "kind")


def test_a_finished_fit_is_not_repeated(file, tmp_path, monkeypatch):
    keys = {"student": "tree", "teacher": "boosting:trees=5", "data": f"csv:{file}", "target": "price"}
    keys |= {"drop": ["kind"], "epochs": 2, "device": "cpu", "out": str(tmp_path / "run")}
    run = Run(check(keys))
    phases = run.phases()
    run.train(phases[0])
    run.train(phases[1])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*/*")}
    fits = []
    monkeypatch.setattr("tutelage.runs.fitted.quality.stability", lambda *_, **__: fits.append(1) or [])
    tutelage.resume(tmp_path / "run")
    assert len(fits) == 1, "the student's alone"
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    tutelage.resume(tmp_path / "run", epochs=5)
    assert len(fits) == 1, "more epochs don't change a fit"


def test_the_same_run_gives_the_same_student(file, tmp_path):
    runs = [distil(file, tmp_path / name, "tree:pseudo=100", "forest:trees=3") for name in "ab"]
    first, second = ((run.folder / "student.safetensors").read_bytes() for run in runs)
    assert first == second


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"method": "dkd"}, "method=.*dkd.* has no effect on student=tree"),
        ({"scheme": "mutual", "teacher": None}, "scheme=mutual has no effect"),
        ({"cache": True}, "cache=True has no effect"),
        ({"student": "tree:deep=3"}, "did you mean 'depth'"),
        ({"data": "digits", "target": None, "drop": []}, "tables' rows"),
    ],
)
def test_keys_without_effect_are_refused(file, keys, message):
    base = {"student": "tree", "teacher": "linear", "data": f"csv:{file}", "target": "kind", "drop": ["price"]}
    with pytest.raises(ConfigError, match=message):
        Run(check(base | {"epochs": 2, "device": "cpu"} | keys), folder=Path()).dry_run()


def test_check_and_the_command_line(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"data=csv:{file}", "target=kind", "drop=[price]", "student=tree:depth=2", "teacher=linear", "device=cpu"]
    result = CliRunner().invoke(cli.app, ["check", *words])
    assert result.exit_code == 0, result.output
    assert "is fitted in one go" in result.output
    result = CliRunner().invoke(cli.app, ["distill", *words, "out=run"])
    assert result.exit_code == 0, result.output
    assert "tree:depth=2" in result.output
    result = CliRunner().invoke(cli.app, ["train", *words[:4], "device=cpu", "out=alone"])
    assert result.exit_code == 0, result.output
    keys = {"student": "mlp-8", "teacher": "forest:trees=3", "data": f"csv:{file}", "target": "kind"}
    trial = preflight(check(keys | {"drop": ["price"], "epochs": 5, "device": "cpu"}))
    assert not [finding for finding in trial.findings if finding.level == "error"]


def test_names_in_tables_are_shown_safely(tmp_path):
    lines = ["<script>alert(1)</script>,b\x1b[31m,y"]
    lines += [f"{i % 7},{i % 5},{'<b>x</b>' if i % 7 > 3 else 'n'}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    run = tutelage.distill(
        "tree", "forest:trees=2", f"csv:{tmp_path / 't.csv'}", target="y", out=str(tmp_path / "run"), progress=False
    )
    text = (run.folder / "report.html").read_text("utf-8")
    assert "<script>alert" not in text
    assert "<b>x</b>" not in text
    assert "\x1b" not in text
    assert "\x1b" not in (run.folder / "student-0" / "tree.svg").read_text()


def test_equal_seeds_are_noted(file, tmp_path):
    messages = []

    class Listener(Callback):
        def on_event(self, event):
            messages.append(str(event))

    distil(file, tmp_path, "tree:depth=2", "linear", seeds=2, callbacks=[Listener()])
    assert [m for m in messages if "fitted without random numbers" in m]


def test_a_run_folder_of_other_inputs_is_refused(file, tmp_path):
    keys = {"progress": False, "device": "cpu", "target": "kind"}
    run = tutelage.train("forest:trees=3", f"csv:{file}", drop=["price"], out=str(tmp_path / "teacher"), **keys)
    taught = distil(file, tmp_path, "tree:depth=2", str(run.folder), "kind")
    assert taught.result["teacher"]["accuracy"] == pytest.approx(run.result["student"]["accuracy"])
    with pytest.raises(ConfigError, match=r"differing: age|takes \d+ channels"):
        distil(file, tmp_path / "other", "tree:depth=2", str(run.folder), "kind", drop=["age"])


def test_pseudo_samples_are_resampled_with_their_origin():
    x, origin = torch.arange(5.0)[:, None], torch.tensor([0, 1, 2, 0, 2])
    samples = Samples(x, torch.arange(5), x, origin)
    drawn = samples.resampled(torch.tensor([2, 2, 0]))
    assert drawn.targets.tolist() == [0, 2, 2, 3, 4, 4]
    assert drawn.x[:, 0].tolist() == drawn.taught[:, 0].tolist() == [0, 2, 2, 3, 4, 4]


def test_teacher_and_student_have_inputs_of_their_own(file, tmp_path):
    few = {"model": "tree:depth=2", "inputs": ["age", "town=north"]}
    run = distil(file, tmp_path, few, "boosting:trees=10", "kind")
    assert run.student.facts.columns == ("age", "town=north")
    assert run.student.card.read_table(file).shape == (240, 2)
    more = {"model": "tree:depth=2,pseudo=5", "inputs": ["age"]}
    with pytest.raises(ConfigError, match="pseudo=5 needs a teacher of the same inputs"):
        distil(file, tmp_path / "other", more, {"model": "boosting:trees=5", "inputs": ["age", "income"]}, "kind")
