"""Students that learn from what they say together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.losses.online.kdcl import KDCL, generalisation_weights
from tutelage.nn.feature_extractor import eval_no_grad
from tutelage.schemes.base import Scheme, SchemeContext, Turn, peer_names, unwrap
from tutelage.schemes.collaborative_player import CollaborativePlayer, group_outputs
from tutelage.schemes.peer_ensembles import Name, named
from tutelage.structures import Batch, Inputs, Outputs
from tutelage.utils.options import FewOrZero, Layer, Share, ShareBelowOne


class Collaborative(Scheme):
    """Students with one loss over all that they say, apart or as branches of one network; each ends as a whole network.

    split: the first layer of which each has its own ("auto": those after the last stage but one); None: all layers.
    ensemble: who speaks for them: none, gate, attention, fusion, feature_fusion. scale_gradient: 1/K times the gradient
    where K branches meet. rise: the share of the training over which what they teach each other gains its weight.
    own_views: each sees an augmentation of its own. average: the decay of the students' moving averages, which then
    teach the others; it begins as 1 − 1/(n + 1). others: how many more of its class come with each sample of a batch.
    Raises: ConfigError for fewer than two students, or an unknown ensemble.
    """

    name = "together"

    takes_teacher: ClassVar[bool] = False
    provides = ("peer_weights",)

    def __init__(
        self,
        group: CollaborativePlayer,
        data: DataModule | None = None,
        seed: int = 0,
        own_views: bool = False,
        average: ShareBelowOne | None = None,
        others: FewOrZero = 0,
    ) -> None:
        super().__init__()
        if len(group.students()) < 2:
            raise ConfigError(f"learning together needs at least two students, {len(group.students())} given.")
        self.batching = {"order": "grouped", "each": others} if others else {}
        self.players = nn.ModuleDict({"peers": group})
        self.data, self.seed, self.own_views, self.decay = data, seed, own_views, average
        self.average: _Average | None = None
        self.weights_of: tuple[int, Tensor] | None = None

    @classmethod
    def from_context(
        cls,
        parts: SchemeContext,
        split: Layer | None = None,
        ensemble: Name = "none",
        scale_gradient: bool = False,
        rise: Share = 0.0,
        own_views: bool = False,
        average: ShareBelowOne | None = None,
        others: FewOrZero = 0,
    ) -> Collaborative:
        """As many as the run has peers."""
        settings, names = parts.settings, peer_names(parts)
        if split is not None and (settings.compile or settings.recompute or settings.sharded):
            raise ConfigError(
                "students that share layers (split=…) can't be compiled, recomputed or divided: leave compile, "
                "recompute and strategy out."
            )
        networks = {name: parts.network(k, name) for k, name in enumerate(names)}
        terms = parts.terms(truth=False)
        if not any(term.loss.list_inputs for term in terms.named().values()):
            terms = parts.terms()
        gradient = 1 / len(names) if scale_gradient else 1.0
        group = CollaborativePlayer(
            networks, terms, parts.task, named(ensemble), split, gradient, rise * settings.epochs
        )
        return cls(group, parts.data, parts.seed, own_views and parts.data.random, average, others)

    def wire(self, batch: Batch, samples: int) -> None:
        """Part the branches, size the ensemble and the terms."""
        group: CollaborativePlayer = unwrap(self.players["peers"])
        group.wire(batch, samples, self.provides)
        if self.decay is not None:
            self.average = _Average(group.branches, self.decay)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """One turn for all."""
        group: CollaborativePlayer = unwrap(self.players["peers"])
        inputs = self._views(batch, len(group.students())) if self.own_views else None
        losses = [term.loss for term in group.together.named().values()]
        if any(isinstance(loss, KDCL) and loss.variant == "general" for loss in losses):
            batch = replace(batch, extras=batch.extras | {"peer_weights": self._measured(group, batch)})
        yield "peers", self.players["peers"](batch, inputs, self._averages(group, batch, inputs))

    def _views(self, batch: Batch, count: int) -> list[Inputs]:
        """The batch's images, and for each further student the same samples augmented anew."""
        data, x = self.data, batch.inputs
        assert data is not None
        assert batch.index is not None
        assert isinstance(x, Tensor)
        layout = torch.channels_last if x.dim() == 4 and not x.is_contiguous() else None
        view, index = int(batch.epoch) * count, batch.index.cpu()
        made = (data.viewed([index], view + k, ~self.seed, x.device, layout) for k in range(1, count))
        return [x, *(next(iter(batches)).inputs for batches in made)]

    @torch.no_grad()
    def _averages(self, group: CollaborativePlayer, batch: Batch, inputs: list[Inputs] | None) -> list[Outputs] | None:
        return None if self.average is None else group_outputs(self.average, group.task, batch, inputs)

    def _measured(self, group: CollaborativePlayer, batch: Batch) -> Tensor:
        """The weights by the errors on the validation split as the epoch begins."""
        epoch = int(batch.epoch)
        if self.weights_of is None or self.weights_of[0] != epoch:
            self.weights_of = epoch, self._weights(group)
        return self.weights_of[1].to(group.device())

    def _weights(self, group: CollaborativePlayer) -> Tensor:
        assert self.data is not None, "its validation split is what they are weighed by"
        errors: list[Tensor] = []
        with eval_no_grad(group):
            for seen in self.data.batches("val", 256, train=False, device=group.device()):
                outputs = torch.stack([one.response.softmax(1) for one in group.forward_student(seen)])
                assert seen.targets is not None
                errors.append((outputs - F.one_hot(seen.targets, outputs.shape[2])).flatten(1))
        return generalisation_weights(torch.cat(errors, dim=1))

    def after_step(self) -> None:
        """Let the averages follow."""
        if self.average is not None:
            self.average.update_parameters(unwrap(self.players["peers"]).branches)

    def checkpoint_state(self) -> dict[str, Any]:
        """The averages, and the weights of this epoch."""
        average = {} if self.average is None else {"average": self.average.state_dict()}
        epoch, weights = self.weights_of or (-1, None)
        return average | ({} if weights is None else {"epoch": epoch, "weights": weights})

    def load_checkpoint_state(self, state: Mapping[str, Any]) -> None:
        """Take both back."""
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if "weights" in state:
            self.weights_of = state["epoch"], state["weights"]


class _Average(AveragedModel):
    """The moving average of several networks; stays in eval mode."""

    def __init__(self, branches: nn.Module, decay: float) -> None:
        def mix(average: Tensor, now: Tensor, number: Tensor | int) -> Tensor:
            kept = min(1 - 1 / (float(number) + 1), decay)
            return kept * average + (1 - kept) * now

        super().__init__(branches, avg_fn=mix, use_buffers=True)
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> _Average:
        """Never."""
        return super().train(False)
