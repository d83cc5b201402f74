"""Several teachers: each recipe by name, its step by hand, from the cache, and after a crash."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small import digest, digits, fit, net

import tutelage
from tutelage import recipes
from tutelage.config.schema import check, term_specs
from tutelage.errors import ConfigError
from tutelage.losses.multi_teacher.aekd import AEKD
from tutelage.losses.multi_teacher.aver import AVER
from tutelage.losses.multi_teacher.camkd import CAMKD, CAMKDFeature
from tutelage.losses.multi_teacher.ebkd import EBKD
from tutelage.losses.multi_teacher.endd import EnDD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.runs.profiling import macs
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen

SEVERAL = [
    "aver",
    "mean_logits",
    "mean_probabilities",
    "ebkd",
    "ca_mkd",
    "aekd",
    "endd",
    "amtml",
    "rl_mtkd",
    "random_teacher",
    "hydra",
]
SMALL = {"epochs": 1, "limit": 100, "batch_size": 16, "device": "cpu", "baseline": False}


def scheme(method, networks=("cnn4", "cnn8")) -> Offline:
    task = Classification()
    teacher = Ensemble([Frozen(net(name, k), task) for k, name in enumerate(networks)])
    return Offline(Player(net("cnn2", 9), Terms.from_method(method, task.task_loss()), task), teacher)


def wired(method, **changes) -> tuple[Offline, Batch]:
    torch.manual_seed(0)
    batch = Batch(torch.randn(6, 1, 8, 8), torch.arange(6), torch.arange(6))
    offline = scheme(method, **changes)
    offline.wire(batch, 20)
    return offline, batch


# each by its word


@pytest.mark.parametrize("name", ["aver", "hydra", "bam"])
def test_the_teachers_are_trained_first_and_named(tmp_path: Path, name: str) -> None:
    run = tutelage.distill(method=name, out=str(tmp_path / "run"), **SMALL)
    several = [] if name == "bam" else ["teacher0", "teacher1", "teacher2"]
    assert list(run.result["before"]) == several
    assert run.result["teacher"]["model"] == (" + ".join(["cnn8"] * 3) if several else "cnn32")
    assert tutelage.load(run.folder).state_dict().keys() == net("cnn2").state_dict().keys()


@pytest.mark.parametrize("name", SEVERAL)
def test_the_users_teachers_win(name: str) -> None:
    config = check({"method": name, "teacher": ["cnn4", "cnn2"]})
    assert config.teacher == ["cnn4", "cnn2"]
    assert term_specs(config.method) == term_specs(recipes.load(name)["method"])


@pytest.mark.parametrize("name", SEVERAL)
def test_only_the_digits_have_teachers_of_their_own(name: str) -> None:
    with pytest.raises(ConfigError, match=r"data=cifar100: this method has no default teachers"):
        check({"method": name, "data": "cifar100", "student": "resnet8"})
    keys = {"method": name, "data": "cifar100", "student": "resnet8", "teacher": ["resnet20", "resnet14"]}
    assert check(keys).teacher == ["resnet20", "resnet14"]
    assert check({"method": name}).teacher == ["cnn8", "cnn8", "cnn8"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"ensemble": "probabilities"}, "ensemble=probabilities is for several teachers"),
        ({"ensemble": "votes", "teacher": ["cnn2", "cnn2"]}, "'logits', 'probabilities', 'random' or 'annealed'"),
    ],
)
def test_contradictions_are_refused(keys, message) -> None:
    with pytest.raises(ConfigError, match=message):
        check(keys)


@pytest.mark.parametrize("name", ["aver", "camkd_feature"])
def test_one_teacher_is_refused_where_several_are_wanted(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="name several teachers"):
        tutelage.distill(method=[{"name": name}], teacher="cnn4", out=str(tmp_path / "run"), **SMALL)
    assert not (tmp_path / "run").exists()


# a step by hand


@pytest.mark.parametrize("loss", [AVER(), EBKD(), CAMKD(), AEKD(), EnDD()], ids=lambda loss: type(loss).__name__)
def test_each_member_answers_once_and_the_loss_gets_their_answers(loss) -> None:
    offline, batch = wired(loss)
    calls = []
    for m, member in enumerate(offline.teacher.member_teachers()):
        member.register_forward_hook(lambda *_, m=m: calls.append(m))
    (turn,) = offline.turns(batch, 0)
    assert calls == [0, 1]
    with torch.no_grad():
        teacher_logits = [member.unfolded[0](batch.inputs) for member in offline.teacher.member_teachers()]
    student_logits = offline.players["student"].student.model(batch.inputs)
    inputs = {"targets": batch.targets, "epoch": 0.0}
    by_hand = loss(
        student_logits,
        teacher_logits,
        **{k: inputs[k] for k in (*loss.required_inputs(), *loss.required_inputs(optional=True))},
    ).mean()
    value = turn[1][next(name for name in turn[1] if name != "ce")]
    assert torch.allclose(value, by_hand, atol=1e-6)
    value.backward()
    assert all(p.grad is None for p in offline.teacher.parameters())
    assert all(p.grad is not None for p in offline.players["student"].student.parameters())


def test_the_order_of_the_teachers_does_not_matter() -> None:
    def value(networks) -> torch.Tensor:
        task = Classification()
        teacher = Ensemble([Frozen(net(*which), task) for which in networks])
        offline = Offline(Player(net("cnn2", 9), Terms.from_method(EBKD()), task), teacher)
        offline.wire(batch, 20)
        return next(offline.turns(batch, 0))[1]["ebkd"]

    torch.manual_seed(0)
    batch = Batch(torch.randn(6, 1, 8, 8), torch.arange(6), torch.arange(6))
    assert torch.allclose(value([("cnn4", 1), ("cnn8", 2)]), value([("cnn8", 2), ("cnn4", 1)]), atol=1e-6)


def test_features_of_several_teachers_have_a_connector_each() -> None:
    term = {"name": "fitnet", "student": ["layer3"] * 2, "teacher": ["0.layer3", "1.layer3"]}
    offline, batch = wired([term])
    wires = offline.players["student"].terms["fitnet"]
    assert wires.teacher_layers == ("0.layer3", "1.layer3")
    assert [connect.conv.weight.shape[:2] for connect in wires.connectors] == [(16, 8), (32, 8)]
    value = next(offline.turns(batch, 0))[1]["fitnet"]
    teacher_features = [
        m.unfolded[0].layer3(m.unfolded[0].layer2(m.unfolded[0].layer1(batch.inputs)))
        for m in offline.teacher.member_teachers()
    ]
    student_features = offline.players["student"].student(batch.inputs)["layer3"]
    by_hand = sum(
        (connect(student_features) - t).pow(2).mean()
        for connect, t in zip(wires.connectors, teacher_features, strict=True)
    )
    assert torch.allclose(value, wires.weight * by_hand, rtol=1e-4)


def test_ca_mkd_reads_the_students_features_with_each_teachers_classifier() -> None:
    offline, batch = wired([{"name": "camkd_feature", "weight": 1.0}])
    wires = offline.players["student"].terms["camkd_feature"]
    assert wires.pairs == (
        ("layer3 (8, 2, 2)", "0.layer3 (16, 2, 2)"),
        ("layer3 (8, 2, 2)", "1.layer3 (32, 2, 2)"),
    )
    value = next(offline.turns(batch, 0))[1]["camkd_feature"]
    models = [member.unfolded[0] for member in offline.teacher.member_teachers()]
    teacher_features = [model.layer3(model.layer2(model.layer1(batch.inputs))) for model in models]
    student_features = offline.players["student"].student(batch.inputs)["layer3"]
    student_features = [connect(student_features) for connect in wires.connectors]
    read = [model.fc(x.mean((2, 3))) for model, x in zip(models, student_features, strict=True)]
    wrong = torch.stack([F.cross_entropy(z, batch.targets, reduction="none") for z in read])
    errors = torch.stack(
        [(s - t).pow(2).mean((1, 2, 3)) for s, t in zip(student_features, teacher_features, strict=True)]
    )
    assert torch.allclose(value, ((1 - wrong.softmax(0)) * errors).mean(), rtol=1e-4)
    value.backward()
    assert all(p.grad is None for p in offline.teacher.parameters())
    assert all(p.grad is not None for p in wires.connectors.parameters())
    assert isinstance(wires.loss, CAMKDFeature)


def test_a_layer_that_the_classifier_cannot_read_is_refused() -> None:
    term = {"name": "camkd_feature", "student": ["layer2"] * 2, "teacher": ["0.layer2", "1.layer2"]}
    with pytest.raises(ConfigError, match="classifier expects 16 values, and the layer has 8 channels"):
        wired([term])


# resumed, and from the cache


@pytest.mark.parametrize("name", ["ebkd", "ca_mkd", "aekd", "endd", "aver", "rl_mtkd", "hydra", "mean_probabilities"])
def test_a_cached_run_is_the_live_run(tmp_path: Path, name: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = SMALL | {"method": name, "teacher_epochs": 0, "epochs": 3, "views": 2, "augment": "shift"}
    live = tutelage.distill(out="live", **keys)
    for again in ("built", "read"):
        run = tutelage.distill(out=again, cache="kept", cache_storage="exact", **keys)
        assert (run.folder / "student.safetensors").read_bytes() == (live.folder / "student.safetensors").read_bytes()
    taps = {path.name.split("-")[1] for path in (tmp_path / "kept").glob("view*")}
    members = {f"response%3A{m}" for m in range(3)}
    features = {f"{m}.layer3" for m in range(3)}
    assert taps == {"response"} | (set() if name.startswith("mean") else members) | (
        features if name == "ca_mkd" else set()
    )


@pytest.mark.parametrize("ensemble", ["random", "annealed"])
def test_those_of_which_one_answers_at_a_time_are_cached_one_by_one(tmp_path: Path, ensemble: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = SMALL | {"method": "random_teacher", "ensemble": ensemble, "teacher_epochs": 0, "epochs": 3, "views": 2}
    keys |= {"augment": "shift", "teacher": ["cnn4", "cnn4"]}
    live = tutelage.distill(out="live", **keys)
    cached = {"cache": "kept", "cache_storage": "exact"}
    run = tutelage.distill(out="cached", **cached, **keys)
    assert (run.folder / "student.safetensors").read_bytes() == (live.folder / "student.safetensors").read_bytes()
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["0", "1"]
    ahead = cached | {"cache": "before"}
    assert {str(folder) for folder, _ in tutelage.build_cache(**ahead, **keys)} == {"before/0", "before/1"}
    again = tutelage.distill(out="read", **ahead, **keys)
    assert (again.folder / "student.safetensors").read_bytes() == (live.folder / "student.safetensors").read_bytes()


def test_teachers_ahead_and_on_a_device_of_their_own_leave_the_same_student(tmp_path: Path) -> None:
    keys = SMALL | {"method": "ca_mkd", "teacher_epochs": 0}
    live, ahead = (
        tutelage.distill(out=str(tmp_path / name), **keys | changes)
        for name, changes in (("live", {}), ("ahead", {"teacher_ahead": 2, "teacher_device": "cpu"}))
    )
    assert (ahead.folder / "student.safetensors").read_bytes() == (live.folder / "student.safetensors").read_bytes()


def test_members_from_the_cache_are_the_members_own(tmp_path: Path) -> None:
    from tutelage.teachers.cached import Cached, CachePlan

    data = digits(32)
    live = scheme(AVER()).teacher
    cached = Cached(live, data, CachePlan(tmp_path, storage="exact", views=1, batch_size=16))
    cached.prepare_for(["1.layer2"], member_outputs=True)
    batch = next(data.batches("train", 16, views=1))
    student_features, teacher_features = cached(batch, ["1.layer2"]), live(batch, ["1.layer2"])
    for mine, other in zip(student_features.member_outputs, teacher_features.member_outputs, strict=True):
        assert torch.equal(mine.response, other.response)
        assert mine.features.keys() == other.features.keys()
    assert torch.equal(student_features.member_outputs[1]["layer2"], teacher_features.member_outputs[1]["layer2"])


def test_a_student_of_several_is_trained_alike_twice() -> None:
    data = digits(48)
    assert digest(fit(scheme(AEKD()), data, epochs=2)) == digest(fit(scheme(AEKD()), data, epochs=2))


# images of another size


def test_a_teacher_of_another_size_gets_its_images_resized(tmp_path: Path) -> None:
    teacher = tutelage.train("cnn4", "digits", epochs=1, limit=100, size=16, out=str(tmp_path / "teacher"))
    keys = SMALL | {"teacher": str(teacher.folder), "method": "kd", "teacher_size": 16}
    run = tutelage.distill(out=str(tmp_path / "run"), **keys)
    assert run.result["teacher"]["macs"] > 3 * net_macs("cnn4")
    frozen = Frozen(teacher.student, Classification(), size=16)
    x = torch.randn(3, 1, 8, 8)
    expected = teacher.student.eval()(F.interpolate(x, (16, 16), mode="bilinear", antialias=True))
    assert torch.equal(frozen(Batch(x)).response, expected)
    assert frozen.identity() != Frozen(teacher.student, Classification()).identity()
    with pytest.raises(ConfigError, match="train it first"):
        tutelage.distill(out=str(tmp_path / "none"), **keys | {"teacher": "cnn4"})


def net_macs(name: str) -> int:
    return macs(net(name), digits(16))


@pytest.mark.parametrize("name", ["aver", "uhc"])
def test_projected_teachers_still_say_what_each_says_live_and_cached(tmp_path: Path, name: str) -> None:
    keys = SMALL | {"method": name, "teacher_epochs": 0, "teacher_width": 3, "views": 1}
    live = tutelage.distill(out=str(tmp_path / "live"), **keys)
    cached = {"cache": str(tmp_path / "kept"), "cache_storage": "exact"}
    kept = tutelage.distill(out=str(tmp_path / "cached"), **cached, **keys)
    assert (kept.folder / "student.safetensors").read_bytes() == (live.folder / "student.safetensors").read_bytes()
