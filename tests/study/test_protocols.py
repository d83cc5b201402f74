"""Published protocols: each can be planned, has the published keys and figures, and never drops a key of yours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tutelage.config import schema
from tutelage.errors import ConfigError
from tutelage.study import protocols
from tutelage.study.plan import Planner
from tutelage.study.settings import read, separate, write
from tutelage.study.study import Study
from tutelage.study.trial import StudyTrial, resolved

FULL = [name for name in protocols.names() if not name.endswith("_small")]
CRD: dict[str, Any] = {"protocol": "crd_cifar100", "data": "cifar100:somewhere", "seeds": 1}


def plan(**keys: Any) -> list[StudyTrial]:
    return Planner(*separate(keys)).trials()


def trial(method: str, **keys: Any) -> schema.Config:
    """The configuration of a method's only trial."""
    (found,) = [t for t in plan(**keys) if method in (t.method, t.role)]
    return schema.check(resolved(dict(found.keys), Path("s"), dict.fromkeys(found.requires(), "t")))


def named(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """The keys of a study that name these pairs, or students without teachers."""
    if not pairs:
        return {"students": ["resnet32"]}
    return {"pairs": [f"{t}:{s}" for t, s in pairs]} if pairs[0][0] else {"students": [s for _, s in pairs]}


@pytest.mark.parametrize("name", FULL)
def test_every_method_and_pair_of_a_protocol_can_be_planned(name: str) -> None:
    protocol = protocols.find(name)
    shared: dict[str, Any] = {"protocol": name, "data": "cifar100:somewhere", "seeds": 1}
    methods = plan(**shared, **named(protocol.pairs[:1]), methods=protocol.published_methods)
    assert {t.method for t in methods} >= {*protocol.published_methods}
    pairs = plan(**shared, **named(protocol.pairs), methods=protocol.published_methods[:1])
    assert {t.fault for t in [*methods, *pairs]} == {""}


@pytest.mark.parametrize("name", [name for name in protocols.names() if name.endswith("_small")])
def test_the_small_version_has_the_same_phases_and_no_figures(name: str) -> None:
    small, full = protocols.find(name), protocols.find(name.removesuffix("_small"))
    assert (small.full, small.figures, small.data) == (full.name, {}, {})
    assert small.keys["epochs"] < full.keys["epochs"] / 10
    same = ("schedule", "milestones", "lr", "optimizer", "nesterov", "weight_decay", "batch_size")
    assert {key: small.keys.get(key) for key in same} == {key: full.keys.get(key) for key in same}
    assert small.keys["lr_warmup"] / small.keys["epochs"] == pytest.approx(full.keys["lr_warmup"] / full.keys["epochs"])
    assert {t.fault for t in plan(protocol=name, methods=full.published_methods, seeds=1)} == {""}


def test_figures_are_the_published_ones() -> None:
    crd, mcl = protocols.find("crd_cifar100"), protocols.find("mcl")
    figure = crd.figure("resnet32x4", "resnet8x4", "crd")
    assert figure is not None
    assert (figure.value, figure.spread, figure.source.access) == (pytest.approx(0.7551), None, "read")
    dist = crd.figure("resnet32x4", "resnet8x4", "dist")
    assert dist is not None
    assert (dist.value, dist.spread) == (pytest.approx(0.7631), pytest.approx(0.0019))
    assert crd.figure("wrn-40-2", "wrn-40-1", "fsp") is None, "the published table has no figure there"
    assert (alone := mcl.figure("", "resnet32", "alone")) is not None
    assert (alone.value, alone.spread, alone.source.seeds) == (pytest.approx(0.7091), pytest.approx(0.0014), 3)
    assert not protocols.find("okddip").figures


@pytest.mark.parametrize("name", FULL)
def test_every_figure_is_a_share_with_a_known_source(name: str) -> None:
    figures = [figure for of_pair in protocols.find(name).figures.values() for figure in of_pair.values()]
    assert all(0.5 < f.value < 0.9 and (f.spread is None or 0 < f.spread < 0.01) for f in figures)
    assert {f.source.access for f in figures} <= {"read", "recalled"}
    assert {f.source.epoch for f in figures} <= {"last", "best on test", "not stated"}


def test_a_run_has_the_published_keys() -> None:
    config = trial("kd", **CRD, pairs=["vgg13:vgg8"])
    assert (config.epochs, config.batch_size, config.optimizer, config.lr) == (240, 64, "sgd", 0.05)
    assert (config.momentum, config.nesterov, config.weight_decay, config.clip) == (0.9, False, 5e-4, None)
    assert [240 * m for m in config.milestones] == [150, 180, 210]
    assert (config.schedule, config.lr_warmup, config.augment) == ("step", 0, "crop-flip")
    assert (config.cache, config.views, config.keep) == (False, None, "last")
    assert all(t.keys.get("epochs") == 240 for t in plan(**CRD, pairs=["vgg13:vgg8"]))


def test_networks_have_learning_rates_of_their_own_unless_you_set_one() -> None:
    keys: dict[str, Any] = {**CRD, "pairs": ["vgg13:mobilenetv2_half", "shufflenetv2:vgg8"]}
    rates = {(t.role, t.student): t.keys["lr"] for t in plan(**keys)}
    assert rates == {
        ("teacher", "vgg13"): 0.05, ("teacher", "shufflenetv2"): 0.01, ("alone", "mobilenetv2_half"): 0.01,
        ("alone", "vgg8"): 0.05, ("method", "mobilenetv2_half"): 0.01, ("method", "vgg8"): 0.05,
    }  # fmt: skip
    assert {t.keys["lr"] for t in plan(**keys, lr=0.1)} == {0.1}


def test_methods_have_their_options_for_the_pair_and_phases_that_shrink() -> None:
    keys: dict[str, Any] = {**CRD, "methods": ["dkd", "ab", "crd+kd"]}
    (dkd,) = trial("dkd", **keys, pairs=["wrn-40-2:wrn-16-2"]).method
    assert (dkd["beta"], dkd["warmup"]) == (6, 20)
    (dkd,) = trial("dkd", **keys, pairs=["resnet32x4:resnet8x4"], epochs=24).method
    assert (dkd.get("beta"), dkd["warmup"]) == (None, 2)
    first = trial("ab", **keys, pairs=["resnet32x4:resnet8x4"]).stages[0]
    assert (first["epochs"], first["schedule"]) == (30, "constant")
    assert trial("ab", **keys, pairs=["resnet32x4:resnet8x4"], epochs=24).stages[0]["epochs"] == 3
    assert len(trial("crd+kd", **keys, pairs=["resnet32x4:resnet8x4"]).method) == 3


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"protocol": "crd_cifar10"}, "unknown protocol 'crd_cifar10': did you mean 'crd_cifar100'"),
        ({"protocol": "crd_cifar100"}, "is for CIFAR-100: say where it is"),
        (CRD, r"name the networks, such as pairs=\[wrn_40_2:wrn_16_2\]"),
        ({**CRD, "protocol": "mcl"}, r"such as students=\[resnet32\]"),
        ({**CRD, "pairs": ["vgg13:vgg8"], "methods": [{"name": "kd", "method": "at"}]}, "kd is a method of protocol="),
        ({**CRD, "students": [{"model": "vgg8", "weights": "x"}]}, "weights=x: protocol=crd_cifar100 sets it"),
        ({**CRD, "students": ["vgg8"], "teachers": [{"model": "vgg13", "epochs": 3}]}, "epochs=3: protocol="),
    ],
)
def test_wrong_requests_are_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan(**keys)


def test_your_keys_win_and_are_named() -> None:
    settings, keys = separate({**CRD, "pairs": ["vgg13:vgg8"], "epochs": 10, "limit": 500, "batch_size": 64})
    changes = protocols.find("crd_cifar100").changes(Planner(settings, keys).keys)
    assert changes == ["epochs 10 of 240", "limit 500"]
    settings, keys = separate({**CRD, "pairs": ["vgg13:vgg8"], "cache": True, "lr": 0.1, "device": "cpu", "seed": 3})
    changes = protocols.find("crd_cifar100").changes(Planner(settings, keys).keys)
    assert changes == ["lr 0.1 in place of 0.05", "views 4"], "a cache has few views of a sample"


def test_the_warm_up_of_the_learning_rate_shrinks_with_the_training() -> None:
    keys: dict[str, Any] = {"protocol": "self_kd_lib", "data": "cifar100:somewhere", "students": ["resnet18_cifar"]}
    _, run = separate(keys | {"epochs": 41})
    assert run["lr_warmup"] == pytest.approx(1)
    assert protocols.find("self_kd_lib").changes(run) == ["epochs 41 of 205"]
    assert protocols.find("self_kd_lib").changes(separate(keys)[1]) == []


def test_a_study_goes_on_under_its_protocol_and_under_no_other(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"protocol": "crd_cifar100_small", "out": str(tmp_path / "s"), "seeds": 1}
    assert Study(*read(values=keys)).added == 3
    settings, run = read(words=[f"out={tmp_path / 's'}", "methods=[dkd]"])
    assert (settings.protocol, settings.pairs, Study(settings, run).added) == ("crd_cifar100_small", ["cnn16:cnn4"], 1)
    plain = separate({**settings.model_dump(exclude={"protocol"}), **run})
    with pytest.raises(ConfigError, match="was begun with protocol=crd_cifar100_small"):
        Study(*plain)
    write(settings, run)
    assert read(words=[f"out={tmp_path / 's'}"]) == (settings, run)
