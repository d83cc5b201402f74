"""Compare a full-graph step of a two-layer GCN with a loop of bare PyG, alone and taught by a wider GCN.

    python bench/graph_step.py      (needs torch-geometric)

A random graph of Cora's size: 2,708 nodes with 1,433 features, 10,556 directed edges, 140 training nodes in one batch.
`difference` is the largest difference of a weight, and of the training nodes' loss, after five steps with the same
random numbers.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from measure import conclude, least_of_instances, show
from torch import Tensor, nn
from torch_geometric.nn import GCNConv

from tutelage import models
from tutelage.data.data_module import DataModule
from tutelage.data.graph_splits import NodeGraph, NodeSplit
from tutelage.data.scale import SourceScale
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.settings import TrainerSettings
from tutelage.tasks.node_classification import NodeClassification
from tutelage.teachers.frozen import Frozen
from tutelage.training.trainer import Trainer

NODES, FEATURES, EDGES, LABELLED, CLASSES = 2708, 1433, 5278, 140, 7
T, CE_WEIGHT = 4.0, 0.1
SGD: dict[str, Any] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
Step = Callable[[], object]


class BareGCN(nn.Module):
    """The network as PyG's examples write it; its weights have the names of gcn-2-WIDTH's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.ModuleDict({"conv1": GCNConv(FEATURES, width), "conv2": GCNConv(width, width)})
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return all nodes' logits."""
        for conv in self.body.values():
            x = conv(F.dropout(x, 0.5, self.training), edge_index).relu()
        return self.fc(x)


def bare(network: nn.Module, teacher: nn.Module | None, graph: NodeGraph, train: Tensor, y: Tensor) -> Step:
    """Return the step of a bare loop."""
    student = _bare_copy(network)
    bare_teacher = None if teacher is None else _bare_copy(teacher).eval()
    optimiser = torch.optim.SGD(student.parameters(), **SGD)

    def step() -> nn.Module:
        student.train()
        out = student(graph.x, graph.edge_index)[train]
        loss = F.cross_entropy(out, y[train])
        if bare_teacher is not None:
            with torch.no_grad():
                log_probs = F.log_softmax(bare_teacher(graph.x, graph.edge_index)[train] / T, dim=1)
            kd = F.kl_div(F.log_softmax(out / T, dim=1), log_probs, reduction="batchmean", log_target=True) * T**2
            loss = CE_WEIGHT * loss + (1 - CE_WEIGHT) * kd
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return student

    return step


def _bare_copy(network: nn.Module) -> BareGCN:
    made = BareGCN(network.fc.in_features)  # type: ignore[union-attr, arg-type]
    made.load_state_dict(network.state_dict())
    return made


def tutelage_step(network: nn.Module, teacher: nn.Module | None, graph: NodeGraph, train: Tensor, y: Tensor) -> Step:
    """Return the Trainer's step, on the batch of all training nodes."""
    task = NodeClassification()
    split = NodeSplit(graph, train, y)
    unchanged = {"mean": (0.0,) * FEATURES, "std": (1.0,) * FEATURES, "source_scale": SourceScale("normalised")}
    classes = tuple(map(str, range(CLASSES)))
    more: dict[str, Any] = {"modality": "node", **unchanged, "train": split, "val": split, "test": split}
    data = DataModule("random", "node_classification", classes, FEATURES, (), **more)
    terms = (
        Terms.from_method(KD(T), task.task_loss()) if teacher is not None else Terms.from_method(None, task.task_loss())
    )
    student = copy.deepcopy(network)
    scheme = Offline(Player(student, terms, task), None if teacher is None else Frozen(copy.deepcopy(teacher), task))
    plain: dict[str, Any] = {"schedule": "constant", "lr_warmup": 0, "clip": None, "weight_decay": SGD["weight_decay"]}
    settings = TrainerSettings(device="cpu", lr=SGD["lr"], batch_size=LABELLED, **plain)
    trainer = Trainer(settings, task)
    state = trainer.prepare(scheme, data)

    def step() -> nn.Module:
        batch = next(iter(state.batches.train(0)))
        trainer._batch(state, batch)
        state.progress.step += 1
        return student

    return step


def compare(kind: str, rounds: int, instances: int) -> list[tuple[str, float, float]]:
    """Return the figures of training alone or with a teacher."""
    torch.manual_seed(0)
    create = {"classes": CLASSES, "channels": FEATURES, "task": "node_classification"}
    network, wide = (models.create(name, **create).model for name in ("gcn-2-64", "gcn-2-128"))
    teacher = wide if kind == "taught" else None
    ends = torch.randint(NODES, (2, EDGES))
    ends = torch.cat([ends, ends.flip(0)], 1)
    graph = NodeGraph((torch.rand(NODES, FEATURES) < 0.0127).float(), ends[:, ends[1].argsort()])
    train, y = torch.arange(LABELLED), torch.randint(CLASSES, (NODES,))
    makers = {"bare": bare, "ours": tutelage_step}
    trained: dict[str, Any] = {}
    for name, make in makers.items():
        step = make(network, teacher, graph, train, y)
        for number in range(5):
            torch.manual_seed(number)
            trained[name] = step()
    deviation = max(
        float((one - trained["ours"].state_dict()[key]).abs().max())
        for key, one in trained["bare"].state_dict().items()
    )
    with torch.no_grad():
        expected = F.cross_entropy(trained["bare"].eval()(graph.x, graph.edge_index)[train], y[train])
        loss = F.cross_entropy(trained["ours"].eval()(graph.x, graph.edge_index, train), y[train])
    seconds = least_of_instances(
        lambda name: makers[name](network, teacher, graph, train, y), makers, rounds, instances
    )
    print(kind)
    show(seconds, "bare")
    return [
        (f"difference of weights, {kind}", deviation, 1e-6),
        (f"difference of losses, {kind}", abs(float(expected - loss)), 1e-6),
        (f"ours/bare, {kind}", seconds["ours"] / seconds["bare"], 1.05),
    ]


def main() -> None:
    """Time the steps, interleaved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--instances", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    conclude([figure for kind in ("alone", "taught") for figure in compare(kind, args.rounds, args.instances)])


if __name__ == "__main__":
    main()
