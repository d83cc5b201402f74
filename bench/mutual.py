"""Measure the cost of mutual learning: two peers against two separate trainings, and each scheme against plain PyTorch.

Process time of whole steps of resnet20 peers on 64 images of 32×32 pixels, one thread, interleaved, the minimum over
rounds and instances (see measure.py). Bounds: two peers that learn from each other take at most 1.05 of the time of two
that the same trainer trains one after the other; a scheme at most 1.03 of the same step in plain PyTorch.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from measure import conclude, least_of_instances, show
from step import BATCH, CLASSES, SGD, Step, by_trainer
from torch import Tensor, nn

from tutelage import models
from tutelage.losses.online.one import ONE
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.spec import Method
from tutelage.objective.terms import Terms
from tutelage.schemes.collaborative import Collaborative
from tutelage.schemes.collaborative_player import CollaborativePlayer
from tutelage.schemes.mutual import Mutual
from tutelage.schemes.offline import Offline
from tutelage.schemes.peer_ensembles import create_ensemble
from tutelage.tasks.classification import Classification

Nets = list[nn.Module]
T = 3.0


def player(network: nn.Module, method: Method) -> Player:
    """Return a network with its terms."""
    return Player(network, Terms.from_method(method), Classification())


def apart(nets: Nets, x: Tensor, y: Tensor) -> Step:
    """Return the step of two trainings from labels only, one after the other."""
    steps = [by_trainer(Offline(player(network, CE())), x, y, channels_last=False) for network in nets[:2]]
    return lambda: [step() for step in steps]


def mutual(nets: Nets, x: Tensor, y: Tensor, sequential: bool = False) -> Step:
    """Return the step of two peers that learn from each other."""
    peers = {f"peer{k}": player(network, CE() + 1.0 * KD(1.0)) for k, network in enumerate(nets[:2])}
    return by_trainer(Mutual(peers, sequential), x, y, channels_last=False)


def mutual_by_hand(nets: Nets, x: Tensor, y: Tensor, sequential: bool = False) -> Step:
    """Return the same step in plain PyTorch."""
    nets = nets[:2]
    optimisers = [torch.optim.SGD(network.train().parameters(), **SGD) for network in nets]

    def backward(k: int, z: Tensor, peer_logits: Tensor) -> None:
        kl = F.kl_div(F.log_softmax(z, 1), F.log_softmax(peer_logits, 1), reduction="batchmean", log_target=True)
        optimisers[k].zero_grad()
        (F.cross_entropy(z, y) + kl).backward()

    def together() -> None:
        z = [network(x) for network in nets]
        for k in range(2):
            backward(k, z[k], z[1 - k].detach())
        for optimiser in optimisers:
            optimiser.step()

    def in_turns() -> None:
        for k in range(2):
            with torch.no_grad():
                peer_logits = nets[1 - k](x)
            backward(k, nets[k](x), peer_logits)
            optimisers[k].step()

    return in_turns if sequential else together


def one(nets: Nets, x: Tensor, y: Tensor) -> Step:
    """Return the step of three branches and their gated ensemble."""
    networks = {f"peer{k}": network for k, network in enumerate(nets)}
    group = CollaborativePlayer(networks, Terms.from_method(ONE()), Classification(), create_ensemble("gate"), "auto")
    return by_trainer(Collaborative(group), x, y, channels_last=False)


def one_by_hand(nets: Nets, x: Tensor, y: Tensor) -> Step:
    """Return the same step in plain PyTorch, for this architecture."""
    first = nets[0]
    gate, norm = nn.Linear(32, len(nets)), nn.BatchNorm1d(len(nets))
    modules = nn.ModuleList([*nets[:1], *(m for n in nets[1:] for m in (n.layer3, n.fc)), gate, norm]).train()
    optimiser = torch.optim.SGD(modules.parameters(), **SGD)

    def step() -> None:
        shared = first.layer2(first.layer1(F.relu(first.bn1(first.conv1(x)))))
        z = [network.fc(network.layer3(shared).mean((2, 3))) for network in nets]
        g = norm(gate(shared.mean((2, 3)))).softmax(1)
        ensemble = (g.unsqueeze(2) * torch.stack(z, 1)).sum(1)
        soft_targets = F.log_softmax(ensemble.detach() / T, 1)
        loss = F.cross_entropy(ensemble, y)
        for logits in z:
            kl = F.kl_div(F.log_softmax(logits / T, 1), soft_targets, reduction="batchmean", log_target=True)
            loss = loss + F.cross_entropy(logits, y) + T**2 * kl
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


MAKERS: Mapping[str, Callable[[Nets, Tensor, Tensor], Step]] = {
    "apart": apart,
    "mutual": mutual,
    "mutual by hand": mutual_by_hand,
    "sequential": lambda *inputs: mutual(*inputs, sequential=True),
    "sequential by hand": lambda *inputs: mutual_by_hand(*inputs, sequential=True),
    "one": one,
    "one by hand": one_by_hand,
}


def main() -> None:
    """Time the variants, interleaved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--instances", type=int, default=4)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    nets = [models.create("resnet20", classes=CLASSES, channels=3).model for _ in range(3)]
    x, y = torch.randn(BATCH, 3, 32, 32), torch.randint(CLASSES, (BATCH,))
    seconds = least_of_instances(
        lambda name: MAKERS[name]([copy.deepcopy(network) for network in nets], x, y),
        MAKERS,
        args.rounds,
        args.instances,
    )
    show(seconds, "apart")
    conclude(
        [
            ("mutual/apart", seconds["mutual"] / seconds["apart"], 1.05),
            *((f"{n}/by hand", seconds[n] / seconds[f"{n} by hand"], 1.03) for n in ("mutual", "sequential", "one")),
        ]
    )


if __name__ == "__main__":
    main()
