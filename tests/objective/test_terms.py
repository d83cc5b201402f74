"""Terms wire losses; a method is their sum."""

import pytest
import torch
import torch.nn.functional as F
from small import Dense, Plain, net
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError
from tutelage.losses.base import Feature, LossSum, Response
from tutelage.losses.dense.cwd import CWD
from tutelage.losses.feature.at import AT
from tutelage.losses.feature.fitnet import FitNet
from tutelage.losses.relation.metric_learning import MetricLearning
from tutelage.losses.relation.rkd import RKDDistance
from tutelage.losses.response.ce import CE
from tutelage.losses.response.dkd import DKD
from tutelage.losses.response.kd import KD
from tutelage.losses.response.logit_mse import LogitMSE
from tutelage.objective.player import Player
from tutelage.objective.reduction import mean
from tutelage.objective.spec import term_from_spec, term_spec
from tutelage.objective.term import FIRST_STEP, Term
from tutelage.objective.terms import Terms
from tutelage.structures import Batch, Outputs
from tutelage.tasks.classification import Classification
from tutelage.tasks.segmentation import Segmentation
from tutelage.teachers.frozen import Frozen
from tutelage.utils import registry

BATCH = Batch(torch.randn(6, 1, 8, 8), torch.arange(6), torch.arange(6))


def weights(terms: Terms) -> dict[str, float]:
    return {name: term.weight for name, term in terms.items()}


def player(method, student: nn.Module, teacher: nn.Module, batch: Batch = BATCH, *, truth=True, task=None) -> Player:
    task = task or Classification()
    made = Player(student, Terms.from_method(method, task.task_loss() if truth else None), task)
    made.wire(Frozen(teacher, task).profile(batch), batch, samples=20)
    return made


# which terms, at which weights


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (KD(), {"ce": 0.1, "kd": 0.9}),
        ("kd", {"ce": 0.1, "kd": 0.9}),
        (DKD(), {"ce": 1.0, "dkd": DKD.default_weight}),
        (KD() + CE(), {"kd": 0.9, "ce": 1.0}),
        (0.5 * KD() + 2 * AT() + 3.0 * CE(), {"kd": 0.5, "at": 2.0, "ce": 3.0}),
        ([KD(), 7 * AT()], {"ce": 1.0, "kd": 0.9, "at": 7.0}),
        ([{"name": "kd", "weight": 2}, "at"], {"ce": 1.0, "kd": 2.0, "at": 1000.0}),
        (Term(AT(), 5), {"ce": 1.0, "at": 5.0}),
        (None, {"ce": 1.0}),
    ],
)
def test_the_truth_joins_as_in_the_papers_unless_the_method_has_it(method, expected):
    assert weights(Terms.from_method(method, CE())) == expected


def test_losses_add_and_scale_into_a_mix():
    kd, at, ce = KD(), AT(), CE()
    assert (kd + 0.5 * at + ce).parts == LossSum(((None, kd), (0.5, at), (None, ce))).parts
    assert (kd * 2 + (at + ce)).parts == ((2.0, kd), (None, at), (None, ce))


def test_several_terms_of_one_loss_have_names_of_their_own():
    assert list(Terms.from_method([AT(), AT(), KD(), AT()])) == ["at", "at_2", "kd", "at_3"]
    rkd = registry.to_catalogue_name(RKDDistance.__name__)
    assert list(Terms.from_method([RKDDistance() for _ in range(3)])) == [rkd, f"{rkd}_2", f"{rkd}_3"]


def test_no_term_at_all_is_refused():
    with pytest.raises(ConfigError, match="no term at all"):
        Terms.from_method([])


@pytest.mark.parametrize("method", [3, [3], object()])
def test_what_is_no_loss_is_refused(method):
    with pytest.raises(ConfigError, match="expected a loss"):
        Terms.from_method(method)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "kd", "temprature": 2}, "unknown option of kd 'temprature': did you mean 'temperature'"),
        ({"name": "kd", "wieght": 2}, "unknown option of kd 'wieght': did you mean 'weight'"),
        ({"weight": 2}, "a term needs a name"),
        ({"name": "kdd"}, "unknown loss 'kdd': did you mean 'kd'"),
        ({"name": "kd", "temperature": 0}, "temperature=0"),
        ({"name": "kd", "weight": "much"}, "kd: .*'much'"),
        ({"name": "kd", "warmup": -1}, "warmup=-1"),
    ],
)
def test_a_faulty_term_is_refused(spec, message):
    with pytest.raises(ConfigError, match=message):
        term_from_spec(spec)


def test_a_spec_says_all_that_a_term_can():
    term = term_from_spec(
        {"name": "at", "p": 1, "weight": 2, "student": ["a", "b"], "teacher": "c", "connector": "conv1x1", "warmup": 3}
    )
    assert (term.loss.p, term.weight, term.warmup, term.request.connector) == (1, 2.0, 3.0, "conv1x1")
    assert term.request.layers == {"student": ["a", "b"], "teacher": ["c"]}


# what a term computes


def test_the_weight_grows_over_the_warmup():
    said, told = Outputs(torch.randn(6, 4)), Outputs(torch.randn(6, 4))
    whole = Term(KD(), 2.0)(said, told, BATCH)
    term = Term(KD(), 2.0, warmup=4)
    values = [term(said, told, Batch(BATCH.inputs, epoch=epoch)) for epoch in (0.0, 1.0, 3.0, 4.0, 9.0)]
    assert torch.allclose(torch.stack(values), torch.tensor([FIRST_STEP / 4, 0.25, 0.75, 1, 1]) * whole)


def test_a_term_is_the_weighted_mean_and_pairs_add_up():
    student, teacher = net("cnn2", 1).eval(), net("cnn4", 2).eval()
    made = player(3 * AT(), student, teacher, truth=False)
    said, told = made.forward_student(BATCH), Frozen(teacher, Classification())(BATCH, made.terms.layers("teacher"))
    by_hand = sum((AT()(said[n], told[n])).mean() for n in ("layer1", "layer2", "layer3"))
    assert torch.allclose(made(BATCH, told)["at"], 3 * by_hand)


def test_losses_that_return_several_values_are_averaged_each():
    values = {"near": torch.tensor([1.0, 3.0]), "far": torch.tensor([[4.0]])}
    assert mean(values) == 6.0
    assert mean(torch.zeros(0), shared=True) == 0.0


# how it is wired


@pytest.mark.parametrize(
    ("term", "pairs"),
    [
        (Term(AT()), [("layer1", "layer1"), ("layer2", "layer2"), ("layer3", "layer3")]),
        (Term(FitNet()), [("layer2", "layer2")]),
        (Term(AT(), student="layer1", teacher="layer2"), [("layer1", "layer2")]),
        (Term(AT(), student="layer2.0"), [("layer2.0", "layer2")]),
        (Term(AT(), teacher=["layer1", "layer3"]), [("layer1", "layer1"), ("layer3", "layer3")]),
        (Term(RKDDistance()), [("fc:in", "fc:in")]),
    ],
)
def test_auto_finds_the_pairs_that_are_not_named(term, pairs):
    made = player(term, net("cnn2", 1), net("cnn4", 2), truth=False)
    found = next(iter(made.terms.values()))
    assert list(zip(found.student_layers, found.teacher_layers, strict=True)) == pairs


def test_unequal_lists_of_layers_are_refused():
    term = Term(AT(), student=["layer1", "layer2"], teacher="layer1")
    with pytest.raises(
        ConfigError, match=r"term 'at': AT: 2 student layers .*1 teacher layers .*as many on both sides"
    ):
        player(term, net(), net())


def test_an_unknown_layer_is_refused_with_its_term():
    with pytest.raises(ModelError, match="term 'at': unknown layer 'layr1': did you mean"):
        player(Term(AT(), student="layr1"), net(), net())


def test_other_classes_are_refused_where_they_are_compared():
    with pytest.raises(ConfigError, match=r"term 'kd': .*student outputs 10 classes and the teacher 7"):
        player(KD(), Plain(10), Plain(7))
    player(AT(), Plain(10), Plain(7))  # features don't mind


def test_what_a_loss_asks_and_the_data_does_not_give_is_refused():
    class Boxes(Response):
        def forward(self, student: Tensor, teacher: Tensor, *, boxes: Tensor) -> Tensor:
            return (student - teacher).pow(2)

    bare = Batch(BATCH.inputs, BATCH.targets)
    with pytest.raises(ConfigError, match=r"term 'boxes': Boxes requires boxes; the .* inputs, targets, epoch"):
        player(Boxes(), net(), net(), bare)
    crd = registry.find_entry("losses", "crd").load()
    with pytest.raises(ConfigError, match="CRD requires index"):
        player(crd(), net(), net(), bare)


def test_a_loss_of_a_teacher_without_one_is_refused():
    made = Player(net(), Terms.from_method(KD(), CE()), Classification())
    with pytest.raises(ConfigError, match=r"KD requires teacher outputs; .* Name a teacher"):
        made.wire(None, BATCH, 20)


# who is trained


def gradients(module: nn.Module) -> dict[str, float]:
    return {name: float(p.grad.abs().sum()) for name, p in module.named_parameters() if p.grad is not None}


def test_gradients_reach_the_student_and_connectors_and_never_the_teacher():
    teacher = net("cnn4", 2)
    made = player(FitNet(), net("cnn2", 1), teacher, truth=False)
    told = Frozen(teacher, Classification())(BATCH, made.terms.layers("teacher"))
    made(BATCH, told)["fitnet"].backward()
    found = gradients(made)
    assert any(name.startswith("terms.fitnet.connectors") and value > 0 for name, value in found.items())
    assert found["student.model.layer1.0.weight"] > 0
    assert not any("layer3" in name or "fc" in name for name in found)
    assert all(p.grad is None for p in teacher.parameters())


def vit() -> nn.Module:
    import timm

    return timm.create_model(
        "vit_tiny_patch16_224", img_size=8, patch_size=2, in_chans=1, embed_dim=12, depth=4, num_heads=2, num_classes=10
    )


@pytest.mark.parametrize("name", ["fitnet", "at", "reviewkd", "sp", "rkd", "crd", "nst", "hcl"])
@pytest.mark.parametrize("sides", ["cnn from vit", "vit from cnn"])
def test_networks_of_different_kinds_teach_each_other_without_a_number_typed(name, sides):
    student, teacher = (net("cnn4", 1), vit()) if sides == "cnn from vit" else (vit(), net("cnn4", 1))
    made = player(name, student, teacher, truth=False)
    told = Frozen(teacher, Classification())(BATCH, made.terms.layers("teacher"))
    value = torch.stack(list(made(BATCH, told).values())).sum()
    value.backward()
    assert torch.isfinite(value)
    assert sum(gradients(made.student).values()) > 0


# segmentation: unlabelled pixels


@pytest.fixture
def scene() -> Batch:
    targets = torch.randint(3, (4, 8, 8))
    targets[torch.rand(4, 8, 8) < 0.4] = 255
    targets[3] = 255
    return Batch(torch.randn(4, 3, 8, 8), targets, torch.arange(4))


def test_kd_and_ce_are_means_over_labelled_pixels(scene):
    said, told = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    mask = scene.targets != 255
    terms = Terms.from_method(2 * KD(3), CE())
    values = terms(Outputs(said), Outputs(told), scene, mask)
    ce = sum(
        F.cross_entropy(said[b, :, i, j][None], scene.targets[b, i, j][None]) for b, i, j in mask.nonzero().tolist()
    )
    kd = sum(
        9 * F.kl_div((said[b, :, i, j] / 3).log_softmax(0), (told[b, :, i, j] / 3).softmax(0), reduction="sum")
        for b, i, j in mask.nonzero().tolist()
    )
    assert torch.allclose(values["ce"], terms["ce"].weight * ce / mask.sum())
    assert torch.allclose(values["kd"], 2 * kd / mask.sum(), rtol=1e-5)


def test_nothing_depends_on_unlabelled_pixels(scene):
    said, told = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    mask = scene.targets != 255
    terms = Terms.from_method([KD(), "dkd", "dist", "logit_mse"], CE())
    before = terms(Outputs(said), Outputs(told), scene, mask)
    said[~mask[:, None].expand_as(said)], told[~mask[:, None].expand_as(told)] = 1e6, -1e6
    after = terms(Outputs(said), Outputs(told), scene, mask)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_batch_without_a_label_gives_zero_and_not_nan(scene):
    scene.targets[:] = 255
    said = torch.randn(4, 3, 8, 8, requires_grad=True)
    values = Terms.from_method(KD(), CE())(Outputs(said), Outputs(torch.randn(4, 3, 8, 8)), scene, scene.targets != 255)
    torch.stack(list(values.values())).sum().backward()
    assert [v.item() for v in values.values()] == [0.0, 0.0]
    assert said.grad.abs().sum() == 0


@pytest.mark.parametrize("method", [KD(), CWD(), AT(), KD() + 0.1 * AT() + CWD()])
@pytest.mark.parametrize("kind", ["classification", "segmentation"])
def test_the_same_losses_teach_classes_and_pixels(method, kind, scene):
    batch, task = (BATCH, Classification()) if kind == "classification" else (scene, Segmentation())
    torch.manual_seed(1)
    student, teacher = (Plain(), Plain(width=6)) if kind == "classification" else (Dense(), Dense(width=6))
    made = player(method, student, teacher, batch, task=task)
    told = Frozen(teacher, task)(batch, made.terms.layers("teacher"))
    values = made(batch, told)
    torch.stack(list(values.values())).sum().backward()
    assert all(torch.isfinite(v) for v in values.values())
    assert gradients(made.student)["model.layer1.0.weight"] > 0


def test_a_loss_of_maps_takes_the_last_maps_where_responses_have_no_positions():
    made = player(CWD(), net("cnn2", 1), net("cnn4", 2))
    assert made.terms["cwd"].pairs == (("layer3 (8, 2, 2)", "layer3 (16, 2, 2)"),)
    assert made.terms["cwd"].connectors[0].conv.weight.shape[:2] == (16, 8)
    assert player(CWD(), vit(), net("cnn4", 2)).terms["cwd"].student_layers == ("blocks.3:map",)


def test_a_loss_of_responses_compares_the_layers_that_are_named():
    term = Term(KD(), student="fc", teacher="fc", connector="identity")
    made = player(term, net("cnn2", 1), net("cnn4", 2))
    said, told = torch.randn(6, 10), torch.randn(6, 10)
    value = term(Outputs(said * 0, {"fc": said}), Outputs(told * 0, {"fc": told}), BATCH)
    assert torch.allclose(value, 0.9 * KD()(said, told).mean())
    assert made.terms["kd"].student_layers == ("fc",)


def test_a_segmenters_response_is_resized_to_the_targets(scene):
    made = player(KD(), Dense(), Dense(width=6), scene, task=Segmentation())
    assert made.forward_student(scene).response.shape == (4, 3, 8, 8)


def test_a_loss_of_ones_own_is_wired_like_the_catalogues():
    class Gap(Feature):
        """Mean gap."""

        connector = "conv1x1"

        def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
            return (student - teacher).abs()

    made = player(Gap() + KD(), net("cnn2", 1), net("cnn4", 2))
    assert list(made.terms) == ["ce", "gap", "kd"]
    assert made.terms["gap"].pairs[0] == ("layer1 (2, 8, 8)", "layer1 (4, 8, 8)")


def test_a_term_can_be_said_and_made_again():
    term = Term(AT(p=1), 2.0, student=["a", "b"], teacher="c", connector="conv1x1", warmup=3)
    again = term_from_spec(term_spec(term))
    assert (again.loss.p, again.weight, again.warmup, again.request.connector) == (1, 2.0, 3.0, "conv1x1")
    assert again.request.layers == term.request.layers
    assert term_spec(Term(KD())) == {"name": "kd", "temperature": 4.0}  # what its options leave open stays open
    for word in ("auto", "paper"):
        assert term_spec(term_from_spec({"name": "at", "weight": word}))["weight"] == word


def test_losses_of_embeddings_compare_responses_that_are_embeddings_but_named_layers_stay():
    terms = Terms.from_method(
        [Term(RKDDistance()), Term(RKDDistance(), student="fc", teacher="fc"), Term(LogitMSE()), Term(AT())]
    )
    terms.fit_kind("embedding")
    assert [term.request.compares for term in terms.named_terms().values()] == [
        "response", "embedding", "response", "stages",
    ]  # fmt: skip
    pytest.importorskip("pytorch_metric_learning")
    with pytest.raises(ConfigError, match="MetricLearning compares embedding, and this task's outputs are classes"):
        Terms.from_method(MetricLearning()).fit_kind("classes")


def test_terms_as_a_method_keep_their_options():
    terms = Terms.from_method([Term(KD(), weight=0.3), Term(AT(), student="layer1", teacher="layer2")], CE())
    again = Terms.from_method(terms, CE()).named_terms()
    assert again == terms.named_terms()
