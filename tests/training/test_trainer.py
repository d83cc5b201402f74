"""The loop, against loops written by hand."""

import ast
import inspect
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from runs.test_resume import mutual
from small import Plain, Rows, digest, digits, fit, net, offline, scenes, settings
from torch import nn

from tutelage.errors import ConfigError, Interrupted, NotFinite
from tutelage.losses.dense.cwd import CWD
from tutelage.losses.feature.at import AT
from tutelage.losses.feature.fitnet import FitNet
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.tasks.classification import Classification
from tutelage.training.fabric import make_fabric
from tutelage.training.trainer import Trainer


def by_hand(data, student, teacher, *, epochs=1, lr=0.05, clip=None, layout=torch.contiguous_format) -> nn.Module:
    """The benchmarks' loop: 0.1 CE + 0.9 KD at T = 4, SGD with Nesterov momentum, cosine."""
    student, teacher = (m.to(memory_format=layout) for m in (student.train(), teacher.eval()))
    opt = torch.optim.SGD(student.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=True)
    steps = data.steps(16) * epochs
    course = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: 0.5 * (1 + math.cos(math.pi * s / steps)))
    for epoch in range(epochs):
        for batch in data.batches("train", 16, epoch=epoch, memory_format=layout):
            with torch.no_grad():
                told = F.log_softmax(teacher(batch.inputs) / 4.0, dim=1)
            said = student(batch.inputs)
            kd = F.kl_div(F.log_softmax(said / 4.0, dim=1), told, reduction="none", log_target=True).sum(1) * 4.0**2
            ce = F.cross_entropy(said, batch.targets, reduction="none")
            opt.zero_grad()
            (0.1 * ce.mean() + 0.9 * kd.mean()).backward()
            if clip:
                nn.utils.clip_grad_norm_(student.parameters(), clip)
            opt.step()
            course.step()
    return student.eval()


# the same numbers as by hand


def test_kd_over_two_epochs_is_the_hand_written_loop_bit_for_bit():
    data = digits(100)
    ours = fit(offline(data, student=net("cnn2", 2), teacher=net("cnn4", 1)), data, epochs=2)
    assert digest(ours) == digest(by_hand(data, net("cnn2", 2), net("cnn4", 1), epochs=2))


def test_clipping_is_by_the_norm_of_all_gradients():
    data = digits(64)
    ours = fit(offline(data, student=net("cnn2", 2), teacher=net("cnn4", 1)), data, clip=0.05)
    assert digest(ours) == digest(by_hand(data, net("cnn2", 2), net("cnn4", 1), clip=0.05))
    assert digest(ours) != digest(by_hand(data, net("cnn2", 2), net("cnn4", 1)))


def test_channels_last_is_only_a_layout():
    data = digits(64)
    ours = fit(offline(data, student=net("cnn2", 2), teacher=net("cnn4", 1)), data, channels_last=True)
    assert digest(ours) == digest(
        by_hand(data, net("cnn2", 2), net("cnn4", 1), layout=torch.channels_last).to(
            memory_format=torch.contiguous_format
        )
    )
    assert ours.layer2[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_log_points_and_norms_and_checkpoints_change_no_bit(tmp_path):
    data = digits(64)
    plain = fit(offline(data, KD() + AT()), data, epochs=2)
    watched = fit(offline(data, KD() + AT()), data, tmp_path, [Rows()], epochs=2, log_every=1, checkpoint_every=0)
    assert digest(plain) == digest(watched)


@pytest.mark.parametrize(("batches", "steps"), [(4, [2, 2]), (5, [2, 2, 1])])
def test_accumulating_is_a_larger_batch_and_the_last_group_may_be_smaller(batches, steps):
    data = digits(8 * batches)
    torch.manual_seed(0)
    usual = {"momentum": 0.0, "schedule": "constant", "lr": 0.1}
    ours = fit(offline(data, student=Plain(), teacher=net("cnn4", 1)), data, batch_size=8, accumulate=2, **usual)
    torch.manual_seed(0)
    student, teacher = Plain(), net("cnn4", 1).eval()
    small = list(data.batches("train", 8))
    opt = torch.optim.SGD(student.parameters(), lr=0.1, weight_decay=5e-4, fused=True)
    for k, count in enumerate(steps):
        group = small[2 * k : 2 * k + count]
        x, y = torch.cat([b.inputs for b in group]), torch.cat([b.targets for b in group])
        opt.zero_grad()
        loss = 0.1 * F.cross_entropy(student(x), y) + 0.9 * KD()(student(x), teacher(x).detach()).mean()
        loss.backward()
        opt.step()
    for p, q in zip(ours.parameters(), student.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)


def test_accumulation_leaves_the_course_over_optimiser_steps():
    data, rows = digits(64), Rows()
    fit(offline(data), data, None, [rows], epochs=2, batch_size=8, accumulate=4, log_every=4, lr=1.0)
    assert [row["lr"] for row in rows.of("step")] == pytest.approx(
        [0.5 * (1 + math.cos(math.pi * k / 4)) for k in (1, 2, 3, 4)]
    )


def test_more_accumulation_than_batches_is_refused():
    with pytest.raises(ConfigError, match="accumulate=9 batches, but an epoch has 4"):
        fit(offline(digits(64)), digits(64), accumulate=9)


def test_adamw_with_a_rise_is_torchs():
    data = digits(32)
    torch.manual_seed(0)
    ours = fit(
        Offline(Player(Plain(), Terms.from_method(None, CE()), Classification())),
        data, optimizer="adamw", epochs=2, lr=0.01, lr_warmup=1.0, schedule="constant",
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = Plain()
    opt = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.05)
    for step, share in enumerate((1 / 3, 2 / 3, 1, 1)):
        batch = list(data.batches("train", 16, epoch=step // 2))[step % 2]
        opt.param_groups[0]["lr"] = 0.01 * share
        opt.zero_grad()
        F.cross_entropy(theirs(batch.inputs), batch.targets).backward()
        opt.step()
    assert all(torch.allclose(p, q, atol=1e-7) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_a_loss_that_becomes_nan_names_the_checkpoint_that_there_is_or_none(tmp_path):
    data = digits(64)

    class Ruined(KD):
        def forward(self, student, teacher):
            return super().forward(student, teacher) * (float("nan") if len(seen) > 3 else 1.0)

    seen: list[int] = []
    for folder, every, words in (
        (None, 60.0, "No checkpoint was written before"),
        (tmp_path / "late", 60.0, "No checkpoint was written before"),
        (tmp_path / "often", 0.0, "The checkpoint .*step-.*pt is sound"),
    ):
        seen.clear()
        watched = offline(data, Ruined())
        watched.register_forward_pre_hook(lambda *_: None)
        for player in watched.players.values():
            player.register_forward_pre_hook(lambda *_: seen.append(1))
        with pytest.raises(NotFinite, match=words):
            fit(watched, data, folder, epochs=2, checkpoint_every=every, log_every=1)


# precision, compile


def test_bf16_trains_near_to_float32_and_losses_are_float32():
    data = digits(64)
    rows = Rows()
    half = fit(offline(data, KD() + AT(), Plain(), Plain(width=6)), data, None, [rows], precision="bf16", log_every=1)
    assert all(p.dtype == torch.float32 for p in half.parameters())
    torch.manual_seed(0)
    whole = fit(offline(data, KD() + AT(), Plain(), Plain(width=6)), data)
    assert digest(half) != digest(whole)
    assert all(math.isfinite(v) for row in rows.of("step") for v in row["losses"].values())


def test_16_on_the_cpu_is_refused():
    with pytest.raises(ValueError, match="precision=16 needs a GPU"):
        settings(precision="16")


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="device=cuda"):
        make_fabric(settings(device="cuda"))


@pytest.mark.parametrize("method", [KD(), KD() + FitNet() + AT()])
def test_compiled_training_gives_the_same_student(method, monkeypatch):
    torch._dynamo.reset()
    compiled = []

    def aot_eager(self):
        compiled.append(self)
        nn.Module.compile(self, backend="aot_eager")

    monkeypatch.setattr(FeatureExtractor, "compile", aot_eager)
    data = digits(48)
    plain = fit(offline(data, method), data)
    fast_scheme = offline(data, method)
    fast = fit(fast_scheme, data, compile=True)
    assert len(compiled) == 2
    assert fast_scheme.teacher.feature_extractor in compiled
    for p, q in zip(plain.parameters(), fast.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-5)
    torch._dynamo.reset()


# what becomes the result


def test_the_moving_average_is_the_result():
    data = digits(48)
    scheme = offline(data)
    ours = fit(scheme, data, ema=0.5)
    last = fit(offline(data), data)
    assert digest(scheme.players["student"].student.model) == digest(last) != digest(ours)


class Course:
    """Validation figures that were planned."""

    def __init__(self, *values: float) -> None:
        self.values, self.weights = list(values), []

    def __call__(self, model, batches, task, classes, **options):
        from tutelage.training.evaluation import EvaluationResult

        self.weights.append(digest(model))
        return EvaluationResult({"accuracy": self.values[len(self.weights) - 1], "loss": 0.0})


def test_the_best_on_validation_is_kept_and_patience_ends_the_training(monkeypatch):
    course = Course(0.1, 0.5, 0.5, 0.4, 0.9)
    monkeypatch.setattr("tutelage.training.trainer.evaluate", course)
    data, rows = digits(32), Rows()
    scheme = offline(data)
    best = fit(scheme, data, None, [rows], epochs=5, patience=2)
    assert len(course.weights) == 4
    assert digest(FeatureExtractor(best)) == course.weights[1]
    assert [row["epoch"] for row in rows.of("epoch")] == [1, 2, 3, 4]


def test_the_last_is_kept_unless_the_best_is_asked_for(monkeypatch):
    for keep, expected in (("last", 2), ("best", 0)):
        course = Course(0.9, 0.5, 0.1)
        monkeypatch.setattr("tutelage.training.trainer.evaluate", course)
        student = fit(offline(digits(32)), digits(32), epochs=3, keep=keep)
        assert digest(FeatureExtractor(student)) == course.weights[expected]


def test_the_result_is_bare_and_in_eval_mode():
    student = fit(offline(digits(32), AT()), digits(32))
    assert not student.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in student.modules())


# what is noted


def test_rows_tell_what_happened():
    data, rows = digits(64), Rows()
    fit(offline(data, KD() + AT()), data, None, [rows], epochs=2, log_every=3)
    assert [row["kind"] for row in rows.rows] == [
        "begin", "norms", "step", "step", "epoch", "norms", "step", "step", "epoch", "end",
    ]  # fmt: skip
    assert [row["step"] for row in rows.of("step")] == [3, 4, 6, 8]
    assert set(rows.of("step")[0]["losses"]) == set(rows.of("norms")[0]["norms"]) == {"ce", "kd", "at"}
    assert all(value > 0 for value in rows.of("norms")[0]["norms"].values())
    assert set(rows.of("epoch")[0]["val"]) == {"accuracy", "balanced_accuracy", "macro_f1", "loss"}
    assert rows.of("begin")[0]["steps"] == 4


def test_logged_losses_are_the_means_since_the_last_log_point():
    data = digits(64)
    each, four = Rows(), Rows()
    fit(offline(data), data, None, [each], log_every=1)
    fit(offline(data), data, None, [four], log_every=4)
    mean = sum(row["losses"]["kd"] for row in each.of("step")) / 4
    assert four.of("step")[0]["losses"]["kd"] == pytest.approx(mean, rel=1e-6)


def test_a_loss_that_is_no_number_stops_the_training_and_is_named():
    student = Plain()
    with torch.no_grad():
        student.fc.bias[0] = torch.inf
    with pytest.raises(NotFinite, match=r"ce, kd became nan by step 1\..* smaller lr"):
        fit(offline(digits(64), student=student), digits(64), log_every=1)


def test_nothing_waits_for_the_device_between_log_points(monkeypatch):
    data = digits(96)
    waits: list[str] = []
    scheme, rows = offline(data, KD() + AT()), Rows()
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy"):
        whole = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor,
            name,
            lambda self, *a, whole=whole, name=name, **k: (waits.append(name), whole(self, *a, **k))[1],
        )
    seen = []
    after_step = scheme.after_step

    def watch() -> None:
        after_step()
        seen.append(len(waits))

    monkeypatch.setattr(scheme, "after_step", watch)
    fit(scheme, data, None, [rows], log_every=4)
    steps = [b - a for a, b in itertools.pairwise(seen)]
    assert len(steps) == 5
    assert [k for k, new in enumerate(steps) if new] == [3]  # only after the fourth step, at the log point
    assert rows.of("step")


@pytest.mark.parametrize("method", [KD(), CWD(), AT()])
def test_pixels_are_learned_as_classes_are(method):
    data, rows = scenes(), Rows()
    student = fit(offline(data, method), data, None, [rows], epochs=4, batch_size=8, lr=0.05)
    assert student(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    losses = [row["losses"]["ce"] for row in rows.of("step")]
    assert losses[-1] < losses[0]
    assert set(rows.of("epoch")[0]["val"]) == {"miou", "accuracy", "mean_accuracy", "dice", "loss"}


@pytest.mark.parametrize(
    "changes", [{}, {"ema": 0.5}, {"keep": "best", "patience": 1}, {"dot": 0.05}, {"accumulate": 2}]
)
def test_a_trainer_that_trained_before_trains_as_a_fresh_one(changes):
    data = digits(64)
    used = Trainer(settings(epochs=2, **changes), Classification())
    used.fit(mutual(digits(48)), digits(48))
    torch.manual_seed(3)
    again = used.fit(offline(data, KD() + AT()), data)
    torch.manual_seed(3)
    fresh = Trainer(settings(epochs=2, **changes), Classification())
    assert digest(again["student"]) == digest(fresh.fit(offline(data, KD() + AT()), data)["student"])
    assert list(again) == ["student"]
    assert (used.progress.step, used.progress.best) == (fresh.progress.step, fresh.progress.best)


def test_a_stop_is_of_one_training():
    data = digits(64)
    trainer, scheme = Trainer(settings(), Classification()), offline(data)
    scheme.after_step = lambda: trainer.state.stop.record(15)
    with pytest.raises(Interrupted, match="stopped by SIGTERM at step 1; nothing was saved"):
        trainer.fit(scheme, data)
    trainer.fit(offline(data), data)
    assert trainer.progress.epoch == 1


def test_a_trainer_gets_all_its_attributes_when_it_is_made():
    tree = ast.parse(inspect.getsource(Trainer))
    (made,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    assert assigned(tree) == assigned(made)


def assigned(tree: ast.AST) -> set[str]:
    """The names of the attributes of `self` that are assigned anywhere in it."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    }


def test_a_trainer_needs_no_folder_and_no_callback():
    data = digits(32)
    trainer = Trainer(settings(), Classification())
    assert list(trainer.fit(offline(data), data)) == ["student"]
    assert (trainer.progress.step, trainer.progress.epoch) == (2, 1)
