"""`tutelage compare` and `tutelage study` on a study whose trials have made-up results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tutelage.study.settings import separate
from tutelage.study.store import Store
from tutelage.study.study import Study

KEYS = {"data": "digits", "epochs": 2, "students": ["cnn2"], "teachers": ["cnn4"], "methods": ["dkd"]}
FAILING = "the loss is NaN"


def result(value: float) -> dict[str, Any]:
    summary = {"accuracy": value, "parameters": 496, "macs": 3536.0, "seconds": 2.0, "step_ms": 4.0}
    data = {"name": "digits", "train": 1078, "val": 360, "test": 359}
    both = {"student": summary, "teacher": summary, "data": data}
    return both | {"metric": "accuracy", "higher_is_better": True, "task": "classification"}


def finish(folder: Path, **keys: Any) -> Store:
    """Plan a study, and give its trials results: dkd fails with the last seed."""
    study = Study(*separate(KEYS | {"out": str(folder)} | keys))
    gains = {"alone": 0.0, "kd": 0.02, "dkd": 0.1}
    for number, (name, stored) in enumerate(study.store.trials().items()):
        trial = stored.trial
        if trial.method == "dkd" and trial.seed == 2:
            study.store.end(name, "failed", FAILING)
        else:
            study.store.end(name, "done", "", 1.0, result(0.5 + gains.get(trial.method, 0.4) + 0.001 * (number % 3)))
    return study.store


@pytest.fixture
def study(tutelage, tmp_path: Path) -> Path:
    finish(tmp_path / "runs" / "study")
    return Path("runs/study")


def test_compare_prints_the_leaderboard_and_writes_all_files(tutelage, study):
    code, out = tutelage("compare")
    assert code == 0, out
    assert "accuracy, %" in out
    assert "dkd" in out
    names = {path.name for path in study.iterdir()}
    assert names >= {"study.html", "study.yaml", "leaderboard.md", "leaderboard.csv", "costs.csv", "card-cnn2.md"}
    assert FAILING in (study / "leaderboard.md").read_text() + (study / "study.html").read_text()


def test_compare_goes_on_with_its_own_keys(tutelage, study):
    code, out = tutelage("compare", f"out={study}", "epochs=3")
    assert code != 0
    assert "epochs=3: runs/study was begun with epochs=2" in out


def test_published_figures_are_printed_and_written(tutelage, tmp_path):
    pairs = {"students": [], "teachers": [], "pairs": ["resnet32x4:resnet8x4"]}
    folder = tmp_path / "runs" / "study"
    finish(folder, protocol="crd_cifar100", **pairs, epochs=2, data="cifar100:nowhere")
    code, out = tutelage("study", "show", str(folder))
    assert code == 0, out
    assert "Protocol: crd_cifar100, shortened: epochs 2 of 240" in " ".join(out.split())
    assert all(text in out for text in ("73.33", "72.50", "79.42", "not comparable", "RepDistiller"))
    tutelage("study", "export", str(folder))
    assert "73.33" in (folder / "published.md").read_text()


def test_the_help_lists_the_keys(tutelage):
    code, out = tutelage("compare", "--help")
    assert code == 0
    assert all(key in out for key in ("students", "methods", "budget", "engine", "cache"))


def test_studies_are_listed_shown_and_exported(tutelage, study):
    assert tutelage("study", "list") == (0, "runs/study: 9 done, 1 failed\n")
    code, out = tutelage("study", "show", str(study))
    assert code == 0
    assert "dkd" in out
    code, _ = tutelage("study", "export", str(study))
    assert code == 0
    before = (study / "leaderboard.csv").read_bytes()
    tutelage("study", "export", str(study))
    assert (study / "leaderboard.csv").read_bytes() == before
    code, out = tutelage("study", "show", "runs")
    assert code != 0
    assert "is no study" in out


def test_failures_wait_again(tutelage, study):
    code, out = tutelage("study", "retry", str(study))
    assert (code, out.splitlines()[0]) == (0, "1 trials wait again: `tutelage compare out=runs/study`")
    assert sum(trial.state == "waiting" for trial in Store.open(study).trials().values()) == 1


def test_studies_of_two_machines_are_merged(tutelage, study):
    finish(Path("runs/other"), methods=["dkd", "at"], students=["cnn4"])
    code, out = tutelage("study", "merge", "runs/study", "runs/other", "--out", "runs/both")
    assert code == 0, out
    merged = Store.open(Path("runs/both")).trials().values()
    assert {trial.trial.student for trial in merged if trial.trial.role == "alone"} == {"cnn2", "cnn4"}
    assert sum(trial.trial.role == "teacher" for trial in merged) == 1
    code, out = tutelage("study", "merge", "runs/study", "runs/other", "--out", "runs/both")
    assert code != 0
    assert "isn't an empty folder" in out


def test_studies_with_other_keys_arent_merged(tutelage, study):
    finish(Path("runs/other"), epochs=3)
    code, out = tutelage("study", "merge", "runs/study", "runs/other", "--out", "runs/both")
    assert code != 0
    assert "has epochs=3, and runs/study has epochs=2: their rows aren't comparable" in out


def test_a_study_takes_names_alone(tutelage):
    import tutelage as package
    from tutelage.errors import ConfigError

    with pytest.raises(ConfigError, match="students=list …: a study's runs are processes of their own"):
        package.compare(["dkd"], students=[object()])


def test_a_file_that_is_no_study_doesnt_hide_the_others(tutelage, study):
    Path("runs/a b").mkdir()
    Path("runs/a b/study.db").write_bytes(b"not a database, but a text of some length" * 30)
    code, out = tutelage("study", "list")
    assert code == 0
    assert "runs/a b: runs/a b/study.db isn't a study" in out
    assert "runs/study: 9 done, 1 failed" in out
    assert tutelage("study", "list", "nowhere") == (0, "nowhere: no studies\n")


def test_a_study_without_any_result_is_a_failure(tutelage, study):
    store = Store.open(study)
    for name in store.trials():
        store.end(name, "failed", FAILING)
    code, out = tutelage("compare")
    assert code == 1
    assert FAILING in " ".join(out.split())
    assert (study / "study.html").is_file()


def test_a_method_that_was_edited_in_the_file_isnt_mixed_with_its_rows(tutelage, study):
    file = study / "study.yaml"
    file.write_text(file.read_text().replace("- dkd", "- {name: dkd, method: dkd, lr: 0.3}"))
    code, out = tutelage("compare")
    assert code != 0
    assert "dkd cnn2 by cnn4 has lr=None and lr=0.3, which tables can't tell apart" in out


def test_show_names_only_files_that_there_are(tutelage, study):
    assert "`tutelage study export runs/study` writes the page" in tutelage("study", "show", str(study))[1]
    tutelage("study", "export", str(study))
    assert "runs/study/study.html" in tutelage("study", "show", str(study))[1]
