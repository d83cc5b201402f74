"""The head that sees the whole batch: a step by hand, the exported student, refusals and a run."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from small import Crash, CrashAt, net

import tutelage
from tutelage.errors import ConfigError
from tutelage.losses.relation.embedding_distance import EmbeddingL2
from tutelage.losses.response.ce import CE
from tutelage.objective.terms import Terms
from tutelage.schemes.batch_head import BatchHead, BatchHeadPlayer
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification

BATCH = Batch(torch.randn(6, 1, 8, 8), torch.arange(6) % 3)
SEARCH = {
    "data": "digits", "split": "classes", "task": {"name": "embedding", "dim": 16}, "student": "cnn2", "limit": 128,
    "scheme": "batch_head", "method": "embedding_l2", "epochs": 2, "batch_size": 32, "device": "cpu", "baseline": False,
}  # fmt: skip


def player(**options) -> BatchHeadPlayer:
    terms = Terms.from_method(EmbeddingL2() + 1.0 * CE())
    return BatchHeadPlayer(net("cnn2"), terms, Classification(), **{"heads": 5} | options)


def test_a_step_by_hand():
    made = player(head_weight=0.5)
    BatchHead(made).wire(BATCH, 100)
    made.eval()
    losses = made(BATCH)
    d = made.student(BATCH.inputs).response
    related = made.encoder(d[None])[0]
    assert set(losses) == {"embedding_l2", "ce", "head_ce"}
    torch.testing.assert_close(losses["ce"], torch.nn.functional.cross_entropy(d, BATCH.targets))
    torch.testing.assert_close(losses["head_ce"], 0.5 * torch.nn.functional.cross_entropy(related, BATCH.targets))
    s, t = (torch.nn.functional.normalize(x, dim=1) for x in (d, related.detach()))
    torch.testing.assert_close(losses["embedding_l2"], (s - t).square().sum(1).mean())


def test_the_head_depends_on_the_others_and_the_student_doesnt():
    made = player()
    BatchHead(made).wire(BATCH, 100)
    made.eval()
    whole, few = (made.student(BATCH.inputs[:n]).response for n in (6, 3))
    torch.testing.assert_close(whole[:3], few)
    assert not torch.allclose(made.encoder(whole[None])[0, :3], made.encoder(few[None])[0], atol=1e-4)


@pytest.mark.parametrize(("options", "message"), [({"heads": 4}, "a multiple of 4"), ({"layers": 0}, "layers=0")])
def test_what_cant_be_meant_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        BatchHead(player(**options)).wire(BATCH, 100)


def test_layers_are_refused():
    made = BatchHeadPlayer(net("cnn2"), Terms.from_method("at", CE()), Classification(), heads=5)
    with pytest.raises(ConfigError, match="its head has no layer"):
        BatchHead(made).wire(BATCH, 100)


def test_search_is_learned_and_resumed(tmp_path):
    pytest.importorskip("pytorch_metric_learning")
    run = tutelage.distill(**SEARCH, teacher="none", out=str(tmp_path / "whole"))
    assert run.result["student"]["recall_at_1"] > 0
    assert not [name for name in load_file(run.folder / "student.safetensors") if "encoder" in name]
    with pytest.raises(Crash):
        tutelage.distill(**SEARCH, teacher="none", out=str(tmp_path / "cut"), log_every=1, callbacks=[CrashAt(6)])
    resumed = tutelage.resume(tmp_path / "cut")
    one, two = (load_file(x.folder / "student.safetensors") for x in (run, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)
