"""Nodes and graphs from a file to a taught student: inputs, sampling, runs, metrics, refusals and checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score
from small import Crash, CrashAt, communities, rings_and_stars

import tutelage
from tutelage import data as datasets
from tutelage import models
from tutelage.data.graph_inputs import GraphInputs, NodeInputs
from tutelage.data.splits import ViewSeed
from tutelage.errors import ConfigError, DataError, TutelageError
from tutelage.losses.relation.lsp import LSP
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.structures import Batch, count_samples
from tutelage.tasks.graph_classification import GraphClassification
from tutelage.tasks.node_classification import NodeClassification

KEYS: dict[str, Any] = {"epochs": 6, "batch_size": 20, "lr": 0.02, "optimizer": "adamw", "device": "cpu"}
TAUGHT: dict[str, Any] = KEYS | {"baseline": False}


@pytest.fixture
def cora(tmp_path: Path) -> str:
    return communities(tmp_path / "small.npz")


@pytest.fixture
def shapes(tmp_path: Path) -> str:
    return rings_and_stars(tmp_path / "shapes.npz")


def same_weights(one: Path, other: Path) -> bool:
    first, second = (load_file(folder / "student.safetensors") for folder in (one, other))
    return all(torch.equal(first[name], second[name]) for name in first)


def check_predictions(run: Any) -> None:
    saved = np.load(run.folder / "student-0" / "predictions.npz")
    predicted, student = saved["probabilities"].argmax(1), run.result["student"]
    assert student["accuracy"] == pytest.approx(accuracy_score(saved["targets"], predicted))
    expected = f1_score(saved["targets"], predicted, average="macro")
    values = tutelage.evaluate(run.folder).values
    assert values["accuracy"] == pytest.approx(student["accuracy"])
    assert values["macro_f1"] == pytest.approx(expected)


def test_a_graph_network_teaches_a_perceptron_on_all_nodes(cora: str, tmp_path: Path) -> None:
    streams = {"unlabelled": {"source": cora.replace("graph:", "graph-nodes:"), "share": 0.7}}
    networks = {"teacher": "gcn-2-16", "student": "node-mlp-8", "teacher_epochs": 20, "method": "kd+rkd+lsp"}
    keys = TAUGHT | {"streams": streams, "task": "node_classification"}
    run = tutelage.distill(data=cora, **networks, **keys, out=str(tmp_path / "run"))
    assert run.result["task"] == "node_classification"
    assert run.result["teacher"]["accuracy"] > 0.8
    assert run.result["student"]["accuracy"] > 0.4
    check_predictions(run)
    batch = next(datasets.load(cora).batches("test", 8))
    network = tutelage.load(run.folder)
    assert network(**batch.inputs).shape == (8, 3)


def test_rings_are_told_from_stars(shapes: str, tmp_path: Path) -> None:
    networks = {"teacher": "gin-2-16-pool", "student": "gcn-2-8-pool", "teacher_epochs": 10, "method": "kd+rkd"}
    run = tutelage.distill(data=shapes, **networks, **TAUGHT, out=str(tmp_path / "run"))
    assert run.result["task"] == "graph_classification"
    assert run.result["teacher"]["accuracy"] > 0.9
    check_predictions(run)


def test_a_run_with_sampled_neighbours_goes_on_after_a_crash(cora: str, tmp_path: Path) -> None:
    keys = TAUGHT | {"data": cora, "neighbours": [3, 2], "teacher": "gcn-2-8", "student": "sage-2-8", "method": "kd"}
    keys |= {"streams": {"unlabelled": {"source": cora.replace("graph:", "graph-nodes:")}}, "batch_size": 8}
    keys |= {"epochs": 2, "teacher_epochs": 1, "checkpoint_every": 0}
    whole = tutelage.distill(**keys, out=str(tmp_path / "whole"))
    with pytest.raises(Crash):
        tutelage.distill(**keys, out=str(tmp_path / "cut"), callbacks=[CrashAt(10)])
    assert same_weights(whole.folder, tutelage.resume(tmp_path / "cut").folder)


@pytest.mark.parametrize("kind", ["nodes", "graphs"])
def test_a_cached_teacher_teaches_what_the_live_one_does(kind: str, cora: str, shapes: str, tmp_path: Path) -> None:
    keys = TAUGHT | {"data": cora, "teacher": "gcn-2-8", "student": "node-mlp-8", "method": "kd+rkd", "batch_size": 10}
    if kind == "graphs":
        keys |= {"data": shapes, "teacher": "gin-2-8-pool", "student": "gcn-2-8-pool"}
    runs = [
        tutelage.distill(**keys, teacher_epochs=2, cache=c, cache_storage="exact", out=str(tmp_path / str(bool(c))))
        for c in (False, str(tmp_path / "cache"))
    ]
    one, other = (load_file(run.folder / "student.safetensors") for run in runs)
    for name, weights in one.items():
        torch.testing.assert_close(weights, other[name], atol=1e-6, rtol=0)


def test_nodes_keep_their_outputs_in_any_batch(cora: str) -> None:
    data = datasets.load(cora)
    network = FeatureExtractor(models.create("gcn-2-8", classes=3, channels=3, task=data.task).model, ["body.conv1"])
    network.eval()
    whole = next(data.batches("test", 90))
    everything = network(whole.inputs)
    part = network(whole.part(3, 9).inputs)
    torch.testing.assert_close(part.response, everything.response[3:9])
    torch.testing.assert_close(part["body.conv1"], everything["body.conv1"][3:9])
    assert len(whole.part(3, 9)) == len(part["body.conv1"]) == 6
    order = torch.randperm(90)
    graph = whole.inputs
    renumbered = NodeInputs.of(graph["x"], graph["edge_index"], order)
    straight = NodeInputs.of(graph["x"], graph["edge_index"], torch.arange(90))
    torch.testing.assert_close(network(renumbered).response, network(straight).response[order])
    with pytest.raises(ConfigError, match="repeat some"):
        NodeInputs.of(graph["x"], graph["edge_index"], torch.zeros(90, dtype=torch.int64))


def test_streams_of_one_graph_share_it(cora: str) -> None:
    data = datasets.load(cora)
    parts = [batch.inputs for batch in data.batches("test", 10)]
    joined = NodeInputs.concatenate(parts)
    assert joined["x"] is data.train.graph.x
    copies = [NodeInputs({name: x.clone() for name, x in part.items()}) for part in parts]
    network = models.create("gcn-2-8", classes=3, channels=3, task=data.task).model.eval()
    torch.testing.assert_close(network(**NodeInputs.concatenate(copies)), network(**joined))


def test_batches_of_graphs_are_those_of_pyg(shapes: str) -> None:
    from torch_geometric.data import Batch as PyGBatch
    from torch_geometric.data import Data

    data = datasets.load(shapes)
    singles = [batch.inputs for batch in data.batches("val", 1)]
    together = next(data.batches("val", 100))
    expected = PyGBatch.from_data_list([Data(x=one["x"], edge_index=one["edge_index"]) for one in singles])
    for inputs in (together.inputs, GraphInputs.concatenate(singles)):
        for name in ("x", "edge_index", "batch", "ptr"):
            torch.testing.assert_close(inputs[name], getattr(expected, name))
    part = together.part(2, 5)
    assert len(part) == count_samples(part.inputs) == len(part.targets) == 3
    torch.testing.assert_close(part.inputs["edge_index"], GraphInputs.concatenate(singles[2:5])["edge_index"])
    torch.testing.assert_close(part.inputs.of_samples(part.inputs["x"])[1], singles[3]["x"].mean(0))
    assert together.inputs.take(torch.tensor([4, 1]))["x"].equal(torch.cat([singles[4]["x"], singles[1]["x"]]))
    assert type(together.to("cpu").inputs) is GraphInputs


def test_a_node_has_the_same_neighbours_in_any_batch(cora: str) -> None:
    graph = datasets.load(cora).train.graph
    together = graph.sampled(torch.arange(90), [3], ViewSeed(0, 1))
    sums = torch.zeros(90, 3).index_add(0, together["edge_index"][1], together["x"][together["edge_index"][0]])
    assert torch.bincount(together["edge_index"][1]).max() == 3
    for node in (4, 50):
        alone = graph.sampled(torch.tensor([node]), [3], ViewSeed(0, 1))
        neighbours = alone["x"][alone["edge_index"][0, alone["edge_index"][1] == 0]]
        torch.testing.assert_close(neighbours.sum(0), sums[node])
    other = graph.sampled(torch.arange(90), [3], ViewSeed(0, 2))
    assert not torch.equal(other["edge_index"], together["edge_index"])
    whole = graph.sampled(torch.arange(90), [1000], ViewSeed())
    assert whole["edge_index"].shape == graph.edge_index.shape


@pytest.mark.parametrize("missing", [{}, {"val": None}, {"train": None, "val": None, "test": None}])
def test_neighbours_are_drawn_in_training_alone(missing: dict[str, Any], tmp_path: Path) -> None:
    data = datasets.load(communities(tmp_path / "some.npz", **missing), neighbours=[2, 1])
    sizes = {split: len(next(data.batches(split, 4)).inputs["x"]) for split in ("train", "val", "test")}
    assert sizes["train"] < sizes["val"] == sizes["test"] == 90


def test_samples_that_are_neighbours(cora: str) -> None:
    batch: Batch = next(datasets.load(cora).batches("test", 45))
    adjacency = batch.available()["adjacency"].to_dense()
    graph, nodes = batch.inputs["edge_index"], batch.inputs["nodes"].tolist()
    pairs = {tuple(pair) for pair in graph.T.tolist()}
    expected = [[(one, other) in pairs for other in nodes] for one in nodes]
    assert adjacency.tolist() == expected
    student, teacher = torch.randn(45, 3), torch.randn(45, 5)
    dense = LSP()(student[None], teacher[None], adjacency=adjacency[None])[0]
    assert LSP()(student, teacher, adjacency=batch.available()["adjacency"]).equal(dense)


SPARSE = {
    "x": None, "x_data": np.ones(90), "x_indices": np.arange(90) % 3, "x_indptr": np.arange(91),
    "x_shape": np.array([90, 3]),
}  # fmt: skip
BAD_NODES = {
    r"edges, row 1: joins the nodes \[2, 90\]": {"edges": np.array([[0, 1], [2, 90]])},
    r"edges, row 0: joins the nodes \[-1, 3\]": {"edges": np.array([[-1, 3]])},
    r"edges is int64 \(4,\): expected integers": {"edges": np.arange(4)},
    r"no edges, only": {"edges": None},
    r"x, row 7: a feature is NaN": {"x": np.where(np.arange(270).reshape(90, 3) == 21, np.nan, 1.0)},
    r"x is float64 \(0, 3\)": {"x": np.zeros((0, 3))},
    r"no features": {"x": None},
    r"y is int64 \(5,\): expected integers \(90,\)": {"y": np.arange(5)},
    r"y, row 3: -7: expected classes from 0": {"y": np.where(np.arange(90) == 3, -7, 0)},
    r"y, row 3: 4: expected classes from 0 to 2": {
        "y": np.where(np.arange(90) == 3, 4, 0), "class_names": np.array(["a", "b", "c"])},
    r"2 of train are in test too, 50": {"train": np.array([1, 2, 50, 51])},
    r"val, row 1: 95: expected numbers from 0 to 89": {"val": np.array([40, 95])},
    r"val has 40 twice": {"val": np.array([40, 40])},
    r"the mask val has 5 rows: expected 90": {"val": np.ones(5, bool)},
    r"train has 0, whose label isn't known": {"y": np.where(np.arange(90) == 0, -1, np.arange(90) % 3)},
    r"it has val, test and no train": {"train": None},
    r"expected two or more": {"y": np.zeros(90, np.int64)},
    r"y, row 3: 1000000000000: expected classes from 0 to 89": {"y": np.where(np.arange(90) == 3, 10**12, 0)},
    r"y, row 1: 1: expected classes from 0 to 0": {"class_names": np.array("one")},
    r"x, row 2: a feature is NaN, infinite or too large": {"x": np.where(np.arange(90) == 2, 1e300, 1.0)[:, None]},
    r"directed is bool \(2,\)": {"directed": np.array([True, False])},
    r"directed is <U2 \(\)": {"directed": np.array("no")},
    r"adj_indices is float64": {"edges": None, "adj_indices": np.ones(90), "adj_indptr": np.arange(91)},
    r"adj_indptr doesn't fit 90 rows of 5 cells": {
        "edges": None, "adj_indices": np.arange(5), "adj_indptr": np.arange(91)},
    r"adj_indptr doesn't fit 90 rows of 90 cells": {
        "edges": None, "adj_indices": np.arange(90), "adj_indptr": np.r_[np.arange(44), 40, np.arange(45, 91)]},
    r"no array adj_indptr": {"edges": None, "adj_indices": np.arange(90)},
    r"adj_indices, row 4: joins the nodes \[4, 90\]": {
        "edges": None, "adj_indices": np.where(np.arange(90) == 4, 90, 0), "adj_indptr": np.arange(91)},
    r"x_indptr doesn't fit 90 rows of 90 cells: expected 91 numbers that rise from 0 to 90": {
        **SPARSE, "x_indptr": np.r_[np.arange(90), 97]},
    r"x_indptr doesn't fit": {**SPARSE, "x_indptr": np.r_[3, np.arange(1, 91)]},
    r"x_shape is \[90.0, 3.0\]": {**SPARSE, "x_shape": np.array([90.0, 3.0])},
    r"x_data is \(1, 90\)": {**SPARSE, "x_data": np.ones((1, 90))},
    r"x, row 7: column 3: expected columns from 0 to 2": {**SPARSE, "x_indices": np.where(np.arange(90) == 7, 3, 0)},
}  # fmt: skip
BAD_GRAPHS = {
    r"sizes, row 2: 0: expected graphs of one node": {"sizes": np.array([3, 3, 0])},
    r"sizes add up to 6 nodes": {"sizes": np.array([3, 3])},
    r"sizes is missing": {"sizes": None},
    r"joins node 0 of graph 0 with node": {"edges": np.array([[0, 30]])},
    r"y is int64 \(3,\): expected integers \(80,\)": {"y": np.arange(3)},
}


@pytest.mark.parametrize(("message", "changes"), BAD_NODES.items())
def test_bad_nodes_are_refused_with_file_and_row(message: str, changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        datasets.load(communities(tmp_path / "bad.npz", **changes))
    assert "bad.npz" in str(caught.value)


@pytest.mark.parametrize(("message", "changes"), BAD_GRAPHS.items())
def test_bad_graphs_are_refused_with_file_and_row(message: str, changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        datasets.load(rings_and_stars(tmp_path / "bad.npz", **changes))
    assert "bad.npz" in str(caught.value)


def others(keys: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if key != "student"}


REFUSED = [
    ({"student": "mlp-8"}, "a network for classification, not for node_classification"),
    ({"student": "gin-2-8-pool"}, "a network for graph_classification, not for node_classification"),
    ({"student": "gat-2-9"}, "a gat's width times 8"),
    ({"student": "gcn-2-8", "neighbours": [0]}, "expected up to 8 numbers of 1 or more"),
    ({"student": "gcn-2-8", "mix": "mixup"}, "mixup"),
    ({"student": "gcn-2-8", "size": 8}, "graphs have no size"),
    ({"student": "gcn-2-8", "augment": "shift"}, "isn't for node data"),
    ({"student": "gcn-2-8", "augment": "python:math:sin"}, "isn't for node data: use none."),
]


@pytest.mark.parametrize(("keys", "message"), REFUSED)
def test_keys_that_do_not_fit_are_refused(keys: dict[str, Any], message: str, cora: str, tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match=message):
        tutelage.train(keys["student"], data=cora, **KEYS | {"epochs": 1} | others(keys), out=str(tmp_path / "run"))


def test_nodes_without_labels_alone_are_refused(cora: str, tmp_path: Path) -> None:
    nodes = cora.replace("graph:", "graph-nodes:")
    with pytest.raises(ConfigError, match="has no labels, which node_classification requires"):
        tutelage.distill(data=nodes, teacher="gcn-2-8", student="gcn-2-8", **KEYS, out=str(tmp_path / "run"))


def test_forms_of_edges_and_features(tmp_path: Path) -> None:
    plain = datasets.load(communities(tmp_path / "a.npz")).train.graph
    arrays = np.load(tmp_path / "a.npz")
    from scipy.sparse import csr_matrix

    matrix = csr_matrix(arrays["x"])
    csr = {"x_data": matrix.data, "x_indices": matrix.indices, "x_indptr": matrix.indptr, "x_shape": matrix.shape}
    changes = {name: np.asarray(value) for name, value in csr.items()} | {"x": None, "edges": None}
    both = np.concatenate([arrays["edges"], arrays["edges"][:, ::-1], [[5, 5]], arrays["edges"][:1]])
    data = datasets.load(communities(tmp_path / "b.npz", **changes, edge_index=both.T))
    assert data.train.graph.x.equal(plain.x)
    assert data.train.graph.edge_index.equal(plain.edge_index)
    assert [note.partition(": ")[2][:16] for note in data.notes][:2] == ["1 edges join a n", "1 edges are repe"]
    lacking = datasets.load(communities(tmp_path / "c.npz", edges=both[: len(both) - 5]))
    assert "lack the opposite one, which is added" in lacking.notes[0]
    directed = datasets.load(communities(tmp_path / "d.npz", edges=np.array([[0, 1]]), directed=np.array(True)))
    assert directed.train.graph.edge_index.tolist() == [[0], [1]]
    assert "88 of 90 nodes are isolated" in directed.notes[0]


def test_checks_find_leaks_rare_classes_and_low_homophily(cora: str, tmp_path: Path) -> None:
    sound = [(finding.level, finding.what) for finding in NodeClassification().check_data(datasets.load(cora))]
    assert all(level == "ok" for level, _ in sound)
    assert any("homophily" in what for _, what in sound)
    y = np.arange(90) % 3
    leaking = np.concatenate([np.random.default_rng(0).normal(size=(90, 2)), y[:, None]], 1)
    rng = np.random.default_rng(0)
    changes = {"x": leaking, "edges": rng.integers(90, size=(300, 2)) // 3 * 3 + np.array([[0, 1]])}
    changes["train"] = np.array([0, 1, 3, 4, 2])
    findings = NodeClassification().check_data(datasets.load(communities(tmp_path / "bad.npz", **changes)))
    texts = {finding.level + " " + finding.what.partition(" of ")[0] for finding in findings}
    assert "error the features 2 tell the class" in texts
    assert "warning one training node only" in texts
    assert "warning 0%" in texts


def test_checks_find_repeated_graphs(shapes: str, tmp_path: Path) -> None:
    assert GraphClassification().check_data(datasets.load(shapes))[-1].level == "ok"
    same = rings_and_stars(tmp_path / "same.npz", x=np.ones((len(np.load(tmp_path / "shapes.npz")["x"]), 1)))
    finding = GraphClassification().check_data(datasets.load(same))[-1]
    assert "test graphs equal a training graph" in finding.what


@pytest.mark.parametrize("kind", ["nodes", "graphs"])
def test_a_good_teacher_is_judged_so(kind: str, cora: str, shapes: str) -> None:
    data = datasets.load(cora if kind == "nodes" else shapes)
    task = NodeClassification() if kind == "nodes" else GraphClassification()
    confusion = torch.tensor([[0, 1], [0, 1], [10, 10]])
    levels = [finding.level for finding in task.judge_teacher({"accuracy": 1.0}, {"confusion": confusion}, data)]
    assert levels == ["ok"]
