"""Checks of graph data: homophily, leaked labels, repeated graphs, and the level of a linear classifier."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.data.graph_splits import GraphSplit, NodeSplit
from tutelage.data.splits import ViewSeed
from tutelage.structures import JoinedInputs
from tutelage.utils.finding import Finding, list_first

FEWEST = 2
"""The fewest training nodes of a class."""
LOW = 0.3
"""The homophily below which neighbours tell little of a node's class."""
LEAK = 0.999
"""The share of test nodes whose class a single feature tells, from which it is a label."""


def check_nodes(data: DataModule) -> list[Finding]:
    """Check for classes of fewer than two training nodes, for low homophily, and for features that are labels."""
    train, test = data.train, data.judged
    if not isinstance(train, NodeSplit) or not isinstance(test, NodeSplit) or train.labels is None:
        return []
    counts = torch.bincount(train.labels, minlength=len(data.classes)).tolist()
    rare = [name for name, count in zip(data.classes, counts, strict=True) if 0 < count < FEWEST]
    findings = []
    if rare:
        findings.append(Finding("warning", f"one training node only of {list_first(rare)}", "label some more."))
    return findings + _homophily(train) + _leaks(data, train, test)


def _homophily(train: NodeSplit) -> list[Finding]:
    """Return the share of edges whose two ends are of one class, among those of known class."""
    assert train.targets is not None
    ends = train.targets[train.graph.edge_index]
    known = (ends >= 0).all(0)
    if not known.any():
        return [Finding("warning", "no edge joins two nodes of known class", "add edges, or use a node-mlp.")]
    share = float((ends[0] == ends[1])[known].float().mean())
    what = f"{share:.0%} of the edges join nodes of one class (homophily)"
    if share < LOW:
        mend = "networks that average neighbours (gcn, sage) may be worse than a node-mlp: compare them."
        return [Finding("warning", what, mend)]
    return [Finding("ok", what)]


def _leaks(data: DataModule, train: NodeSplit, test: NodeSplit) -> list[Finding]:
    """Find a feature that is the label of train and test nodes: a number, or one of C columns."""
    assert train.labels is not None
    assert test.labels is not None
    x, y = (torch.cat([of_train, of_test]) for of_train, of_test in (
        (train.graph.x[train.nodes], test.graph.x[test.nodes]), (train.labels, test.labels)))  # fmt: skip
    present = torch.stack([((x != 0) & (y == c)[:, None]).sum(0) for c in range(len(data.classes))])
    sizes = torch.bincount(y, minlength=len(data.classes))[:, None]
    of_class = (present >= LEAK * sizes) & (sizes > 0) & (present.sum(0) - present <= (1 - LEAK) * len(y))
    columns = of_class.any(0).nonzero()[:, 0].tolist() if len(data.classes) > 1 else []
    columns += ((x == y[:, None].to(x.dtype)).float().mean(0) >= LEAK).nonzero()[:, 0].tolist()
    if columns:
        what = f"the features {list_first(sorted({str(column) for column in columns}))} tell the class of test nodes"
        return [Finding("error", what, "leave the labels out of x.")]
    return []


def check_graphs(data: DataModule) -> list[Finding]:
    """Check for training graphs that are test graphs too."""
    if not isinstance(data.train, GraphSplit) or not isinstance(data.judged, GraphSplit):
        return []
    train, test = {*_graph_keys(data.train)}, _graph_keys(data.judged)
    common = len([key for key in test if key in train])
    if common:
        what = f"{common} of {len(test)} test graphs equal a training graph, node by node"
        return [Finding("warning", what, "leave them out of train, unless they are different measurements.")]
    return [Finding("ok", "no test graph equals a training graph, node by node")]


def _graph_keys(samples: GraphSplit) -> list[bytes]:
    """Return a key of each graph's features and edges."""
    keys = []
    for inputs, _ in samples.read(list(torch.arange(len(samples))[:, None]), ViewSeed()):
        keys.append(inputs["x"].numpy().tobytes() + inputs["edge_index"].numpy().tobytes())
    return keys


def linear_accuracy(data: DataModule) -> float:
    """Return the validation accuracy of a linear classifier of nodes' features, or of the mean over a graph's."""
    from sklearn.linear_model import RidgeClassifier

    (x, y), (x_val, y_val) = (_features(data, split) for split in ("train", "val"))
    return float(RidgeClassifier().fit(x, y).score(x_val, y_val)) if len(y.unique()) > 1 else 0.0


def _features(data: DataModule, split: str) -> tuple[Tensor, Tensor]:
    rows, labels = [], []
    for batch in data.batches(split, 2000, train=False):
        assert isinstance(batch.inputs, JoinedInputs)
        assert batch.targets is not None
        features = batch.inputs.of_samples(batch.inputs["x"])
        assert features is not None
        rows.append(features)
        labels.append(batch.targets)
    return torch.cat(rows), torch.cat(labels)
