"""Recipes that train in stages, or change the teacher during training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small import digest
from torch import Tensor

import tutelage
from tutelage import recipes
from tutelage.config.schema import check, read
from tutelage.errors import ConfigError
from tutelage.losses.multi_teacher.aver import AVER
from tutelage.models import serialization
from tutelage.objective.terms import Terms
from tutelage.runs.inputs import Provided
from tutelage.runs.run import Run
from tutelage.schemes.base import Scheme
from tutelage.structures import Batch, Outputs

NAMES = [
    "takd", "dgkd", "eskd", "rco", "fitnet_stages", "ab_stages", "fsp_stages", "kd_then_ce", "curriculum_kd",
]  # fmt: skip
TINY: dict[str, Any] = {"epochs": 3, "teacher_epochs": 3, "limit": 60, "batch_size": 20, "device": "cpu"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, tutelage.FinishedRun]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: tutelage.distill(**TINY, method=name, out=str(folder / name)) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_one_word_is_a_run_that_ends_in_a_bare_student(runs, name):
    student = tutelage.load(runs[name].folder)
    assert type(student).__name__ == "CNN"
    assert serialization.read_card(runs[name].folder).model == "cnn2"
    assert runs[name].result["gain"] is not None


def scheme_of(run: tutelage.FinishedRun, phase: str) -> Scheme:
    """Rebuild and wire the scheme of a phase."""
    again = Run(read(run.folder / "config.yaml"), Provided(), run.folder)
    scheme, parts = again.scheme(next(p for p in again.phases() if p.name == phase))
    scheme.wire(next(parts.data.batches("train", 20)), len(parts.data.train))
    return scheme


def weights(run: tutelage.FinishedRun, phase: str, file: str = "model") -> str:
    return digest(serialization.load(run.folder / phase / f"{file}.safetensors"))


def epochs(run: tutelage.FinishedRun) -> dict[str, int]:
    facts = [json.loads(path.read_text()) for path in run.folder.glob("*/phase.json")]
    return {fact["name"]: fact["epochs"] for fact in facts}


def test_the_assistant_stands_between(runs):
    assistant, student = scheme_of(runs["takd"], "assistant-0"), scheme_of(runs["takd"], "student-0")
    assert digest(assistant.teacher.feature_extractor.model) == weights(runs["takd"], "teacher")
    assert digest(student.teacher.feature_extractor.model) == weights(runs["takd"], "assistant-0")
    assert runs["takd"].result["before"]["assistant"]["model"] == "cnn8"


def test_each_learns_from_all_that_are_larger(runs):
    run = runs["dgkd"]
    before = ["teacher"]
    for phase in ("larger-0", "middle-0", "smaller-0", "student-0"):
        digests = [digest(member.feature_extractor.model) for member in scheme_of(run, phase).teacher.member_teachers()]
        assert digests == [weights(run, name) for name in before]
        before.append(phase)


def test_the_dense_step_is_the_papers(runs):
    """T² · Σ KL, averaged over the ten classes, over all teachers except a dropped one; no cross-entropy."""
    scheme = scheme_of(runs["dgkd"], "student-0").train()
    batch = Batch(torch.randn(5, 1, 8, 8), torch.arange(5), torch.arange(5))
    student = scheme.students()["student"].model.eval()
    ((_, losses),) = scheme.turns(batch, 0)
    assert list(losses) == ["aver"]
    with torch.no_grad():
        student_log_probabilities = F.log_softmax(student(batch.inputs) / 5, 1)
        teacher_probabilities = [
            F.softmax(m.feature_extractor.model(batch.inputs) / 5, 1) for m in scheme.teacher.member_teachers()
        ]
        each = [25 * F.kl_div(student_log_probabilities, p, reduction="batchmean") / 10 for p in teacher_probabilities]
    assert len(each) == 4
    sums = [sum(each) - left_out for left_out in each]
    assert min(abs(losses["aver"].item() - value.item()) for value in sums) < 1e-5


def test_logits_grow_in_ten_steps_however_long_the_training():
    stages = {epochs: check({"method": "annealing_kd", "epochs": epochs}).stages for epochs in (30, 400)}
    assert [stages[400][0]["method"][0]["epochs"], stages[400][0]["epochs"]] == [20.0, 200]
    for first, last in stages.values():
        assert first["method"][0]["epochs"] * first["method"][0]["max_temperature"] == first["epochs"]
        assert last["student_weights"] == "stage:first"
    assert check({"method": "annealing_kd"}).method == "ce"


def test_teachers_are_drawn_out_one_at_a_time_in_training_only():
    torch.manual_seed(0)
    student, teachers = torch.randn(4, 3), [torch.randn(4, 3) for _ in range(3)]
    whole = AVER()(student, teachers)
    loss = AVER(drop=1)
    seen = set()
    for _ in range(40):
        kept = loss(student, teachers)
        assert kept.shape == (2, 4)
        rows = [next(i for i in range(3) if torch.equal(row, whole[i])) for row in kept]
        seen.add(tuple(rows))
    assert seen == {(0, 1), (0, 2), (1, 2)}
    assert torch.equal(loss.eval()(student, teachers), whole)
    torch.manual_seed(5)
    first = AVER(drop=2)(student, teachers)
    torch.manual_seed(5)
    assert torch.equal(AVER(drop=2)(student, teachers), first)


def test_dropping_leaves_a_teacher():
    with pytest.raises(ConfigError, match="expected at least 4"):
        AVER(drop=3)(torch.randn(4, 3), [torch.randn(4, 3) for _ in range(3)])
    with pytest.raises(ConfigError, match="drop=-1"):
        AVER(drop=-1)


def test_an_early_teacher_teaches_and_is_switched_off(runs):
    scheme = scheme_of(runs["eskd"], "student-0")
    assert digest(scheme.teacher.feature_extractor.model) == weights(runs["eskd"], "teacher", "epoch-1")
    assert weights(runs["eskd"], "teacher", "epoch-1") != weights(runs["eskd"], "teacher")


@pytest.mark.parametrize("name", ["eskd", "kd_then_ce"])
def test_after_the_switch_only_the_labels_teach(name):
    terms = Terms.from_method(check({"method": name, "epochs": 10}).method)
    losses: dict[float, dict[str, Tensor]] = {}
    torch.manual_seed(0)
    s, t, y = torch.randn(6, 10), torch.randn(6, 10), torch.arange(6)
    for epoch in (0.0, 6.9, 7.0, 9.9):
        losses[epoch] = terms(Outputs(s), Outputs(t), Batch(s, y, epoch=epoch))
    ce = F.cross_entropy(s, y)
    kd = 16 * F.kl_div(F.log_softmax(s / 4, 1), F.softmax(t / 4, 1), reduction="batchmean")
    for epoch in (0.0, 6.9):
        assert losses[epoch]["ce"].item() == pytest.approx(0.1 * ce.item())
        assert losses[epoch]["kd"].item() == pytest.approx(0.9 * kd.item(), rel=1e-5)
    for epoch in (7.0, 9.9):
        assert losses[epoch]["ce"].item() == pytest.approx(ce.item())
        assert losses[epoch]["kd"].item() == 0


def test_the_route_goes_through_the_teachers_snapshots(runs):
    run = runs["rco"]
    teachers = [
        digest(scheme_of(run, f"{name}-0").teacher.feature_extractor.model) for name in ("early", "middle", "student")
    ]
    assert teachers == [weights(run, "teacher", "epoch-1"), weights(run, "teacher", "epoch-2"), weights(run, "teacher")]
    for name, before in (("middle", "early"), ("student", "middle")):
        assert digest(scheme_of(run, f"{name}-0").students()["student"].model) == weights(run, f"{before}-0")
    assert epochs(run) == {"teacher": 3, "baseline-0": 3, "early-0": 1, "middle-0": 1, "student-0": 1}


def test_recipes_go_by_the_runs_epochs():
    def stages(**keys: Any) -> list[Any]:
        return [stage.get("teacher") or stage.get("epochs") for stage in check(keys).stages]

    assert stages(method="rco") == ["stage:teacher@10", "stage:teacher@20", 4]
    assert stages(method="rco", teacher_epochs=90, epochs=30)[:2] == ["stage:teacher@30", "stage:teacher@60"]
    assert stages(method="rco", teacher="cnn8", epochs=6)[:2] == ["stage:teacher@2", "stage:teacher@4"]
    assert stages(method="eskd") == ["stage:teacher@10"]
    assert stages(method="fitnet_stages") == [3, 7]
    assert stages(method="fitnet_stages", epochs=30) == [10, 20]
    assert stages(method="fitnet_stages", epochs=1) == [1, 1]
    with pytest.raises(ConfigError, match="epochs='many'"):
        check({"method": "rco", "epochs": "many"})
    assert recipes.load("kd_then_ce")["method"][1]["weight"]["begin"] == 21


@pytest.mark.parametrize("name", ["fitnet_stages", "ab_stages", "fsp_stages"])
def test_the_first_stage_sees_no_label_and_leaves_the_head(runs, name):
    run = runs[name]
    scheme = scheme_of(run, "first-0")
    batch = Batch(torch.randn(5, 1, 8, 8), None, torch.arange(5))
    ((_, losses),) = scheme.turns(batch, 0)
    assert list(losses) == [name.removesuffix("_stages")]
    sum(losses.values()).backward()
    assert scheme.students()["student"].model.fc.weight.grad is None
    assert all(p.grad is None for p in scheme.teacher.parameters())
    assert digest(scheme_of(run, "student-0").students()["student"].model) == weights(run, "first-0")
    assert epochs(run) == {"teacher": 3, "baseline-0": 3, "first-0": 1, "student-0": 2}


def test_the_curriculum_begins_with_what_is_easy_to_the_teacher():
    terms = Terms.from_method(check({"method": "curriculum_kd", "epochs": 10}).method)
    torch.manual_seed(0)
    s, t, y = torch.randn(6, 10), torch.randn(6, 10), torch.arange(6)
    easy = F.cross_entropy(t, y, reduction="none").argsort()[:3]
    each = F.cross_entropy(s, y, reduction="none")
    first, last = (terms(Outputs(s), Outputs(t), Batch(s, y, epoch=epoch)) for epoch in (0.0, 7.0))
    assert first["ce"].item() == pytest.approx(0.1 * each[easy].mean().item())
    assert last["ce"].item() == pytest.approx(0.1 * each.mean().item())


@pytest.mark.parametrize(
    ("teacher", "student", "between"),
    [
        ("resnet56", "resnet8", ["resnet20"]),
        ("cnn32", "cnn2", ["cnn8"]),
        ("wrn-40-2", "wrn-16-2", ["wrn-28-2"]),
        ("wrn_40_4", "wrn_16_1", ["wrn_28_2"]),
        ("vgg13", "vgg8", ["vgg11"]),
        ("resnet56", "resnet8", ["resnet32", "resnet20", "resnet14"]),
        ("resnet110x2", "resnet8x2", ["resnet56x2", "resnet32x2", "resnet14x2"]),
    ],
)
def test_assistants_are_of_the_family_and_between(teacher, student, between):
    keys = {"data": "cifar100", "teacher": teacher, "student": student, "epochs": 3}
    stages = check(keys | {"method": "takd" if len(between) == 1 else "dgkd"}).stages
    assert [stage["student"] for stage in stages[:-1]] == between


def test_a_runs_network_counts_as_a_teacher_of_its_size(runs):
    teacher = str(runs["takd"].folder / "teacher" / "model.safetensors")
    stages = check({"method": "takd", "teacher": teacher, "student": "cnn4"}).stages
    assert stages[0]["student"] == "cnn11"


@pytest.mark.parametrize(
    ("method", "teacher", "student"),
    [
        ("takd", "resnet56", "vgg8"),
        ("takd", "timm:resnet50", "resnet8"),
        ("takd", "resnet56", "resnet8x4"),
        ("takd", "resnet14", "resnet8"),
        ("takd", "cnn0", "cnn2"),
        ("dgkd", "resnet20", "resnet8"),
        ("takd", "shufflenetv2_2x", "shufflenetv2_0.5x"),
        ("takd", ["resnet56", "resnet44"], "resnet8"),
        ("takd", None, "resnet8"),
    ],
)
def test_where_no_assistant_is_between_it_says_to_write_the_stages_out(method, teacher, student):
    keys = {"method": method, "data": "cifar100", "student": student} | ({"teacher": teacher} if teacher else {})
    with pytest.raises(ConfigError, match=rf"student={student}: expected two sizes of one family.* write the stages"):
        check(keys)
    stages = [{"name": "student", "teacher": "stage:teacher"}]
    if isinstance(teacher, str):
        assert check(keys | {"stages": stages}).stages == stages


def test_the_users_stages_win(tmp_path: Path):
    config = read(words=["method=takd", "stages=[{name: between, student: cnn4}]"])
    assert [stage["name"] for stage in config.stages] == ["between"]
