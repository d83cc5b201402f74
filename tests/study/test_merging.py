"""Studies that are merged: what is refused, and which of two trials is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import ConfigError
from tutelage.study.merging import merge
from tutelage.study.settings import read, separate
from tutelage.study.study import Study

KEYS: dict[str, Any] = {"data": "digits", "epochs": 2, "students": ["cnn2"], "teachers": [], "seeds": 1}


def study(folder: Path, state: str, **keys: Any) -> Path:
    begun = Study(*separate(KEYS | {"out": str(folder), "methods": ["cs_kd"]} | keys))
    for name, stored in begun.store.trials().items():
        (folder / stored.folder).mkdir(parents=True)
        (folder / stored.folder / "state").write_text(state)
        begun.store.end(name, state, "", 1.0, {"of": folder.name} if state == "done" else None)  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize("states", [("failed", "done"), ("done", "failed"), ("stopped", "done"), ("done", "done")])
def test_a_trial_that_is_done_is_kept(tmp_path: Path, states: tuple[str, str]) -> None:
    folders = [study(tmp_path / f"s{n}", state) for n, state in enumerate(states)]
    merged = merge(folders, tmp_path / "both")
    for stored in merged.trials().values():
        assert stored.state == "done"
        assert stored.result == {"of": f"s{states.index('done')}"}
        assert (merged.folder / stored.folder / "state").read_text() == "done"


def test_a_study_is_merged_with_itself(tmp_path: Path) -> None:
    folder = study(tmp_path / "s", "done")
    assert len(merge([folder, folder], tmp_path / "both").trials()) == 2


def test_pairs_and_students_by_teachers_are_merged_to_pairs(tmp_path: Path) -> None:
    by = study(tmp_path / "s0", "done", teachers=["cnn4"])
    own, keys = separate({"data": "digits", "epochs": 2, "pairs": ["cnn8:cnn2"], "seeds": 1, "methods": ["cs_kd"],
                          "out": str(tmp_path / "s1")})  # fmt: skip
    Study(own, keys)
    merged = merge([by, tmp_path / "s1"], tmp_path / "both")
    goes_on = Study(*read(values={"out": str(merged.folder)}))
    assert goes_on.store.trials().keys() == merged.trials().keys()
    assert {t.trial.teacher for t in merged.trials().values() if t.trial.method == "kd"} == {"cnn4", "cnn8"}


def test_methods_of_one_name_and_other_keys_arent_merged(tmp_path: Path) -> None:
    hot = [{"name": "hot", "method": "cs_kd", "lr": lr} for lr in (0.1, 0.2)]
    folders = [study(tmp_path / f"s{n}", "done", methods=[entry]) for n, entry in enumerate(hot)]
    with pytest.raises(ConfigError, match=r"hot cnn2 has lr=0.1 and lr=0.2, which tables can't tell apart"):
        merge(folders, tmp_path / "both")
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(
    ("keys", "message"), [({"epochs": 3}, "epochs=3, and .*s0 has epochs=2"), ({"threads": 2}, "threads=2")]
)
def test_studies_of_other_keys_arent_merged_and_the_key_is_told(tmp_path: Path, keys: Any, message: str) -> None:
    folders = [study(tmp_path / "s0", "done"), study(tmp_path / "s1", "done", **keys)]
    with pytest.raises(ConfigError, match=f"s1 has {message}"):
        merge(folders, tmp_path / "both")


def test_a_file_isnt_taken_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="isn't an empty folder: choose another one"):
        merge([study(tmp_path / "s", "done")], tmp_path / "file")
