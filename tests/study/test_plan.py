"""The plan of a study: which trials there are, with which keys, and what is refused before the first."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tutelage.config import schema
from tutelage.errors import ConfigError
from tutelage.study.plan import Planner
from tutelage.study.settings import read, separate
from tutelage.study.trial import IN_STUDY, TRIAL, StudyTrial, refuse_other_keys, resolved

KEYS = {"data": "digits", "epochs": 6, "teacher_epochs": 4, "students": ["cnn2"], "teachers": ["cnn8"]}


def plan(**keys: Any) -> list[StudyTrial]:
    return Planner(*separate(KEYS | keys)).trials()


def test_alone_and_kd_are_always_there() -> None:
    trials = plan(methods=["dkd"], seeds=2)
    assert Counter((trial.role, trial.method) for trial in trials) == {
        ("teacher", ""): 1, ("alone", "alone"): 2, ("method", "kd"): 2, ("method", "dkd"): 2,
    }  # fmt: skip
    assert [trial.role for trial in trials[:3]] == ["teacher", "alone", "alone"], "what others wait for comes first"


def test_all_students_have_the_same_budget_and_data() -> None:
    trials = plan(methods=["dml", "ban", "fitnet_stages", "cifar_benchmark"], seeds=2, batch_size=32)
    students = [
        schema.check(resolved(dict(t.keys), Path("s"), {trials[0].id: "t"})) for t in trials if t.role != "teacher"
    ]
    assert {(c.epochs, c.batch_size, c.views, c.data_seed) for c in students} == {(6, 32, 4, 0)}
    assert {config.seed for config in students} == {0, 1}


def test_a_teacher_is_trained_once_with_its_own_budget() -> None:
    trials = plan(methods=["kd", "at", "aver@3"], seeds=2, teachers=["cnn8", {"model": "cnn4", "epochs": 9, "lr": 0.2}])
    teachers = [trial for trial in trials if trial.role == "teacher"]
    assert [(t.student, t.seed, t.keys["epochs"]) for t in teachers] == [
        *(("cnn8", seed, 4) for seed in range(3)), *(("cnn4", seed, 9) for seed in range(3)),
    ]  # fmt: skip
    assert (teachers[3].keys["lr"], teachers[3].keys["teacher"]) == (0.2, "none")
    aver = [trial for trial in trials if trial.method == "aver@3"]
    assert aver[0].keys["teacher"] == [TRIAL + teacher.id for teacher in teachers[:3]]
    assert {trial.teacher for trial in aver} == {"cnn8 ×3", "cnn4 ×3"}
    assert all("teacher_epochs" not in trial.keys for trial in aver), "they are trained already"


def test_pairs_are_the_only_combinations() -> None:
    keys: dict[str, Any] = {"data": "digits", "epochs": 6, "methods": ["at", "ps_kd"], "seeds": 1}
    trials = Planner(
        *separate(keys | {"pairs": ["cnn8:cnn2", "cnn8:cnn4", {"teacher": "cnn6", "student": "cnn2"}]})
    ).trials()
    taught = [(t.teacher, t.student) for t in trials if t.method == "at"]
    assert taught == [("cnn8", "cnn2"), ("cnn6", "cnn2"), ("cnn8", "cnn4")]
    assert [t.student for t in trials if t.role == "teacher"] == ["cnn8", "cnn6"]
    assert [t.student for t in trials if t.role == "alone"] == ["cnn2", "cnn4"]
    assert [t.student for t in trials if t.method == "ps_kd"] == ["cnn2", "cnn4"]


@pytest.mark.parametrize("pair", ["cnn8", "cnn8:", "a:b:c", {"teacher": "cnn8"}])
def test_what_isnt_a_pair_is_refused(pair: Any) -> None:
    with pytest.raises(ConfigError, match="expected TEACHER:STUDENT"):
        separate({"pairs": [pair]})


def test_pairs_and_students_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="pairs name their networks, and students is set too"):
        separate({"pairs": ["cnn8:cnn2"], "students": ["cnn2"]})


def test_methods_without_a_teacher_run_once_per_student() -> None:
    trials = plan(methods=["ps_kd", "dml", "mean_teacher", "dkd"], teachers=["cnn8", "cnn4"], seeds=1)
    count = Counter(trial.method for trial in trials if trial.role == "method")
    assert count == {"kd": 2, "dkd": 2, "ps_kd": 1, "dml": 1, "mean_teacher": 1}
    assert not [trial for trial in trials if trial.fault]


def test_runs_that_train_their_own_teachers_get_its_model() -> None:
    (trial,) = [trial for trial in plan(methods=["sftn"], seeds=1) if trial.method == "sftn"]
    assert (trial.keys["teacher"], trial.keys["teacher_epochs"]) == ("cnn8", 4)
    assert not trial.requires()


def test_a_run_folder_teaches_as_it_is(tmp_path: Path) -> None:
    for name in ("config.yaml", "environment.json"):
        (tmp_path / name).write_text("{}")
    trials = plan(teachers=[str(tmp_path)], methods=["aver"], seeds=1)
    assert [trial.role for trial in trials] == ["alone", "method", "method"]
    assert trials[1].keys["teacher"] == str(tmp_path)
    assert "aver has 3 teachers, and" in trials[2].fault


def test_cached_teachers_are_shared_by_seeds_and_methods_where_they_can_be() -> None:
    trials = plan(methods=["at", "dml", {"name": "other size", "method": "kd", "student_size": 4}], seeds=2)
    caches = {trial.method: trial.keys.get("cache") for trial in trials}
    assert caches["kd"] == caches["at"]
    assert caches["kd"].startswith(f"{IN_STUDY}caches/")
    assert caches["dml"] is None
    assert caches["other size"] not in (None, caches["kd"])
    assert all("cache" not in trial.keys for trial in plan(cache=False))
    assert all("views" not in trial.keys for trial in plan(cache=False))
    mixed = plan(mix="mixup")
    assert not [trial for trial in mixed if trial.fault or "cache" in trial.keys]


def test_schemes_that_hold_samples_out_have_a_cache_of_their_own_and_changing_teachers_none() -> None:
    trials = plan(methods=["at", "distpro", "metadistil"], seeds=1)
    caches = {trial.method: trial.keys.get("cache") for trial in trials if trial.role == "method"}
    assert caches["kd"] == caches["at"] != caches["distpro"]
    assert caches["metadistil"] is None
    assert not any(trial.fault for trial in trials)


def test_assistants_lie_between_the_models_of_the_study() -> None:
    (takd,) = [t for t in plan(methods=["takd"], teachers=["cnn32"], seeds=1) if t.method == "takd"]
    assert not takd.fault
    assert [stage["name"] for stage in takd.keys["stages"]] == ["assistant", "student"]
    assert takd.keys["stages"][0]["student"] == "cnn8"
    assert str(takd.keys["teacher"]).startswith(TRIAL)


def test_plain_kd_is_the_squared_error_where_outputs_are_not_logits(tmp_path: Path) -> None:
    rows = ["x,y", *(f"{n % 7},{n % 5}.5" for n in range(60))]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    table = {"data": f"csv:{tmp_path / 'table.csv'}", "target": "y", "students": ["mlp-4"], "teachers": ["mlp-8"]}
    trials = plan(methods=["output_l1"], seeds=1, **table)
    (kd,) = [trial for trial in trials if trial.method == "kd"]
    assert kd.keys["method"] == "logit_mse"
    assert next(t.keys["method"] for t in plan(seeds=1) if t.method == "kd") == "kd"


def test_a_method_is_a_name_a_sum_a_recipe_or_keys() -> None:
    entries = ["kd+0.5*at", "dml", {"name": "hot", "method": [{"name": "kd", "temperature": 8}], "lr": 0.02}]
    hot = next(trial for trial in plan(methods=entries, seeds=1) if trial.method == "hot")
    assert (hot.keys["lr"], hot.keys["method"]) == (0.02, [{"name": "kd", "temperature": 8}])


def test_a_method_that_cant_be_run_is_a_row_with_its_reason() -> None:
    (trial,) = [
        t for t in plan(methods=[{"name": "late", "method": [{"name": "kd", "warmup": 50}]}], seeds=1) if t.fault
    ]
    assert "warmup=50" in trial.fault


def test_the_same_trial_has_the_same_id_in_another_folder() -> None:
    one, two = (Planner(*separate(KEYS | {"out": out, "methods": ["dkd"]})).trials() for out in ("a", "b"))
    assert [trial.id for trial in one] == [trial.id for trial in two]
    assert len({trial.id for trial in one}) == len(one)
    assert len({trial.folder for trial in one}) == len(one)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"methods": ["dkdd"]}, "dkd"),
        ({"methods": ["kd", "kd"]}, "'kd' is there twice"),
        ({"methods": ["alone"]}, "alone"),
        (
            {"methods": [{"name": "kd", "method": "at"}]},
            "kd: a method of this name is the one that all others are compared",
        ),
        ({"methods": [{"name": "kd", "method": "takd"}]}, "isn't kd: give it another"),
        ({"methods": ["aver@none"]}, "number of teachers after @"),
        ({"methods": ["aver@"]}, "number of teachers after @"),
        ({"methods": [{"name": "dkd", "lr": 0.02}]}, "methods: dkd: a name for tables alone"),
        ({"methods": [{"name": "x", "method": "at", "seed": 7}]}, "seed=7: it is the same for all methods"),
        ({"methods": [{"name": "x", "method": "at", "student": "cnn4"}]}, "student=cnn4: it is the same"),
        ({"methods": [{"name": "x", "method": "at", "epochs": 7}]}, "epochs=7: it is the same"),
        ({"methods": [{"name": "x", "method": "at", "limit": 7}]}, "limit=7: it is the same"),
        ({"methods": [{"name": "x", "method": "at", "out": "x"}]}, "out=x: it is the same"),
        ({"methods": [{"name": "x", "method": [{"name": "kd", "temprature": 2}]}]}, "temprature"),
        ({"epoch": 3}, "unknown key 'epoch': did you mean epochs"),
        ({"seeds": 0}, "seeds=0"),
        ({"baseline": False}, "baseline=False: a study sets it"),
        ({"student": "cnn2"}, "student and students are both set"),
        ({"engine": "rai"}, "did you mean .ray"),
        ({"budget": "soon"}, "30m"),
        ({"budget": "0m"}, "above 0"),
        ({"budget": "0steps"}, "above 0"),
        ({"budget": f"{10**400}steps"}, "above 0"),
        ({"leaders": 1, "leader_seeds": 3, "seeds": 3}, "with seeds=3 there is none left for the leaders"),
        ({"teachers": [[]]}, "at least 1 item"),
        ({"teachers": []}, "needs a teacher"),
        ({"students": []}, "no students"),
        ({"teachers": [], "data": "npz:a.npz"}, "kd needs a teacher|dkd needs a teacher"),
        ({"stages": [{"name": "student"}]}, "stages and further students are for a method"),
    ],
)
def test_refusals(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(**({"methods": ["dkd"]} | keys))


@pytest.mark.parametrize("own", [{"lr": 0.02}, {"method": [{"name": "kd", "temperature": 2}]}, {"method": "ce+kd"}])
def test_kd_of_ones_own_options_is_what_the_others_are_compared_with(own: dict[str, Any]) -> None:
    planned = plan(methods=["dkd", {"name": "kd", "method": "kd", **own}])
    assert {trial.method for trial in planned if trial.role == "method"} == {"kd", "dkd"}


def test_words_of_the_command_line_are_read_by_the_types_of_their_keys() -> None:
    settings, keys = read(
        None, ["methods=[kd, {name: a, method: kd+at, lr: 0.1}]", "seeds=4", "epochs=3", "student=cnn2"]
    )
    assert settings.methods == ["kd", {"name": "a", "method": "kd+at", "lr": 0.1}]
    assert (settings.seeds, settings.students, keys) == (4, ["cnn2"], {"epochs": 3})


def test_a_teachers_own_inputs_stay_with_it() -> None:
    trials = plan(teachers=[{"model": "cnn8", "inputs": "all", "epochs": 2}], methods=[], seeds=1, data="npz:bands.npz")
    teacher, _, kd = trials
    assert (teacher.keys["student_inputs"], teacher.keys["epochs"]) == ("all", 2)
    assert kd.keys["teacher"] == {"model": TRIAL + teacher.id, "inputs": "all"}


def test_embedded_data_has_networks_where_none_are_named() -> None:
    assert (separate({})[0].students, separate({})[0].teachers) == (["cnn2"], ["cnn32"])
    assert separate({"teacher": "none", "student": "cnn4"})[0].teachers == []
    assert {t.role for t in Planner(*separate({"teachers": [], "methods": ["cs_kd"]})).trials()} == {"alone", "method"}


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ({"students": ["cnn2", {"model": "cnn2"}]}, "alone cnn2 has student=cnn2 and student={'model': 'cnn2'}"),
        ({"teachers": [{"model": "cnn8", "epochs": 1}, {"model": "cnn8", "epochs": 2}]}, "has epochs=1 and epochs=2"),
    ],
)
def test_networks_that_tables_cant_tell_apart_are_refused(networks: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        refuse_other_keys(plan(**networks))
    assert (
        refuse_other_keys(plan(students=["cnn2", "cnn2"], teachers=["cnn8", "cnn4"], methods=["at", "aver@2"])) is None
    )


@pytest.mark.parametrize("content", ["students: cnn2\n", "methods: null\n", "- a\n", "students: [\n", "epoch: 3\n"])
def test_a_recorded_file_that_was_edited_wrongly_is_refused_by_its_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "study.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"study\.yaml"):
        read(None, ["methods=[at]", f"out={tmp_path}"])


def test_the_folder_is_named_by_text() -> None:
    with pytest.raises(ConfigError, match="out=5: input should be a valid string"):
        read(values={"out": 5})


def test_the_file_of_a_folder_that_was_moved_is_of_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "moved"
    folder.mkdir()
    (folder / "study.yaml").write_text("out: runs/before\nmethods: [at]\n")
    assert read(folder / "study.yaml")[0].out == "runs/before", "a copy elsewhere repeats the study"
    (folder / "study.db").write_bytes(b"")
    assert read(folder / "study.yaml")[0].out == str(folder)
    assert read(folder / "study.yaml", ["out=runs/other"])[0].out == "runs/other"
    monkeypatch.chdir(folder)
    assert read(Path("study.yaml"))[0].out == str(folder)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"method": "dkd", "lrr": 0.1}, "methods: dkd: unknown key 'lrr': did you mean lr?"),
        ({"name": "hot", "method": "dkd", "lr": "high"}, "methods: hot: lr='high': input should be a valid number"),
        ({"name": "alone", "method": "dkd"}, "'alone' is there twice, once for the student alone"),
    ],
)
def test_wrong_keys_of_a_method_are_refused_at_once(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        plan(methods=[entry])


@pytest.mark.parametrize("protocol", ["okddip_small", "mcl_small", "self_kd_lib_small"])
def test_a_protocol_whose_methods_arent_named_is_refused_where_only_students_alone_are_left(protocol: str) -> None:
    with pytest.raises(ConfigError, match=rf"protocol={protocol} compares none yet: name some of \w+, "):
        Planner(*read(values={"protocol": protocol}))
    assert {trial.method for trial in Planner(*read(values={"protocol": "crd_cifar100_small"})).trials()} > {"kd"}


def test_a_teacher_that_is_twice_in_a_team_is_trained_twice() -> None:
    trials = plan(teachers=[["cnn8", "cnn4", "cnn8"]], methods=[], seeds=1)
    teachers = [trial for trial in trials if trial.role == "teacher"]
    assert [(trial.student, trial.seed) for trial in teachers] == [("cnn8", 0), ("cnn4", 0), ("cnn8", 1)]
    assert trials[-1].keys["teacher"] == [TRIAL + trial.id for trial in teachers]


def test_a_student_that_is_fitted_has_its_own_way_of_being_taught(tmp_path: Path) -> None:
    rows = [f"{i % 17},{i % 7},{3 * (i % 17) * (i % 7)}" for i in range(60)]
    (tmp_path / "houses.csv").write_text("\n".join(["age,rooms,price", *rows]))
    data = {"data": f"csv:{tmp_path}/houses.csv", "target": "price", "teachers": ["mlp-8"], "methods": ["dkd"]}
    trials = plan(**data, students=["tree:depth=2", "mlp-4"], seeds=1)
    keys = {(t.student, t.method): t.keys for t in trials if t.role == "method"}
    assert not {"method", "cache"} & keys["tree:depth=2", "kd"].keys()
    assert keys["mlp-4", "kd"]["method"] == "logit_mse"
    assert keys["mlp-4", "kd"]["cache"].startswith(IN_STUDY)
    assert keys["tree:depth=2", "dkd"]["method"] == "dkd", "what is said isn't dropped"


def test_a_method_whose_stages_have_other_teachers_has_no_cache() -> None:
    trials = plan(methods=["takd", "dgkd", "fitnet_stages"], teachers=["cnn32"], seeds=1)
    cached = {trial.method: "cache" in trial.keys for trial in trials if trial.role == "method"}
    assert cached == {"kd": True, "takd": False, "dgkd": False, "fitnet_stages": True}


def test_teachers_whose_outputs_differ_have_caches_of_their_own() -> None:
    own = {"name": "own", "method": "aver", "ensemble": "probabilities"}
    trials = plan(methods=["aver", "mean_logits", "mean_probabilities", own], seeds=1)
    caches = {trial.method: trial.keys["cache"] for trial in trials if trial.role == "method"}
    assert caches["aver"] == caches["mean_logits"]
    assert caches["own"] == caches["mean_probabilities"] != caches["aver"]


@pytest.mark.parametrize(
    ("given", "mend"),
    [({"methods": [object()]}, "method: [{name: kd, temperature: 8}]"), ({"students": [object()]}, "python:MODULE")],
)
def test_an_object_is_refused_with_what_takes_its_place(given: dict[str, Any], mend: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(mend)):
        read(values=given)
