"""Terms of a named part of the outputs."""

from __future__ import annotations

import sys

import pytest
import torch
from small import Crash, CrashAt
from torch import Tensor, nn

import tutelage
from tutelage.errors import ConfigError, ModelError
from tutelage.losses.feature.at import AT
from tutelage.losses.relation.rkd import RKD
from tutelage.losses.response.kd import KD
from tutelage.losses.response.logit_mse import LogitMSE
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.nn.model_profile import profile_model
from tutelage.objective.player import Player
from tutelage.objective.spec import term_from_spec, term_spec
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.structures import Batch, Outputs
from tutelage.tasks.classification import Classification
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen

BATCH = Batch(torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6), torch.arange(6))


class Parted(nn.Module):
    """A network that returns its logits, its embedding, and the numbers of its samples."""

    def __init__(self, classes: int = 10, channels: int = 1, width: int = 6, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Linear(64 * channels, width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        embedding = self.stem(x.flatten(1)).tanh()
        return {"logits": self.head(embedding), "embedding": embedding, "count": torch.arange(len(x))}


def player(method, teacher: nn.Module | None = None, width: int = 6) -> Player:
    result = Player(Parted(width=width), Terms.from_method(method), Classification())
    result.wire(None if teacher is None else profile_model(teacher, BATCH), BATCH, 6)
    return result


@pytest.mark.parametrize("loss", [LogitMSE(), KD(2.0), RKD()], ids=lambda loss: type(loss).__name__)
def test_a_term_of_a_part_is_the_loss_of_that_tensor(loss):
    teacher = Parted(seed=1)
    frozen, taught = Frozen(teacher, Classification()), player(Term(loss, weight=3.0, part="embedding"), teacher)
    outputs = frozen(BATCH, taught.teacher_layers())
    assert taught.teacher_layers() == ("@embedding",)
    x, z = (network(BATCH.inputs)["embedding"].detach() for network in (taught.student.model, teacher))
    by_hand = Term(loss, weight=3.0)
    by_hand.compare_responses()
    by_hand.wire(*(profile_model(n, BATCH).with_response(y[:2]) for n, y in ((teacher, x), (teacher, z))), BATCH, 6)
    (value,) = taught(BATCH, outputs).values()
    assert value.item() == pytest.approx(by_hand(Outputs(x), Outputs(z), BATCH).item())
    value.backward()
    assert taught.student.model.stem.weight.grad.abs().sum() > 0
    assert taught.student.model.head.weight.grad is None


def test_the_response_stays_and_nothing_is_captured_without_a_part():
    plain, both = (FeatureExtractor(Parted(), layers)(BATCH.inputs) for layers in ((), ["stem", "@embedding"]))
    assert plain.features == {}
    assert plain.response.equal(both.response)
    assert both["@embedding"].equal(both["stem"].tanh())
    assert both.part(slice(2, 4)).detach()["@embedding"].equal(both["@embedding"][2:4])


def test_several_parts_at_once_and_the_description_of_a_term():
    terms = [{"name": "kd", "part": "logits"}, {"name": "rkd", "part": "embedding"}]
    taught = player(terms, Parted(seed=1))
    assert {*taught.teacher_layers()} == {"@logits", "@embedding"}
    assert [pair for term in taught.terms.named_terms().values() for pair in term.pairs][-1][0].startswith("part emb")
    term = term_from_spec({"name": "kd", "part": "logits"})
    assert term_from_spec(term_spec(term)).part == "logits"
    assert "part" not in term_spec(Term(KD()))


@pytest.mark.parametrize(
    ("method", "width", "message"),
    [
        (Term(LogitMSE(), part="boxes"), 6, "has no part 'boxes'; its parts: 'logits', 'embedding', 'count'"),
        (Term(LogitMSE(), part="count"), 6, r"the part 'count' .* is a Tensor \(2,\) of int64: expected a floating"),
        (Term(LogitMSE(), part="embedding"), 5, r"the part 'embedding' is \(5,\) of the student and \(6,\) of the"),
    ],
)
def test_parts_that_cant_be_compared_are_refused(method, width, message):
    with pytest.raises((ConfigError, ModelError), match=message):
        player(method, Parted(seed=1), width)


def test_what_has_no_parts_is_refused():
    with pytest.raises(ConfigError, match="AT compares layers"):
        Term(AT(), part="embedding")
    with pytest.raises(ConfigError, match="a part of the outputs or layers"):
        Term(KD(), part="logits", student="stem", teacher="stem")
    with pytest.raises(ModelError, match="has no part 'x'; its parts: none"):
        FeatureExtractor(nn.Flatten(), ["@x"])(BATCH.inputs)
    with pytest.raises(ConfigError, match="several teachers have no part in common"):
        Ensemble([Frozen(Parted(seed=n), Classification()) for n in (1, 2)]).profile(BATCH).feature("@embedding")


KEYS = {"data": "digits", "limit": 80, "method": [{"name": "kd"}, {"name": "logit_mse", "part": "embedding"}]}
KEYS |= {"epochs": 2, "teacher_epochs": 1, "batch_size": 16, "device": "cpu", "log_every": 1, "baseline": False}


def keys(tmp_path, monkeypatch) -> dict:
    monkeypatch.setitem(sys.modules, "parted", sys.modules[__name__])
    return KEYS | dict.fromkeys(("teacher", "student"), "python:parted:Parted")


def test_a_run_of_parts_resumes_to_the_same_bits(tmp_path, monkeypatch):
    config = keys(tmp_path, monkeypatch)
    whole = tutelage.distill(**config, out=str(tmp_path / "whole"))
    with pytest.raises(Crash):
        tutelage.distill(**config, out=str(tmp_path / "run"), checkpoint_every=0, callbacks=[CrashAt(7)])
    resumed = tutelage.resume(tmp_path / "run")
    assert (resumed.folder / "student.safetensors").read_bytes() == (whole.folder / "student.safetensors").read_bytes()


def test_a_cache_holds_the_parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = keys(tmp_path, monkeypatch) | {"views": 2, "cache_storage": "exact", "augment": "none"}
    live, cached = (
        tutelage.distill(**config, cache=cache, out=str(tmp_path / str(cache))).folder for cache in (False, True)
    )
    assert (live / "student.safetensors").read_bytes() == (cached / "student.safetensors").read_bytes()
