"""Students that learn from their joint outputs."""

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
from tutelage.objective.terms import Terms
from tutelage.schemes.base import Scheme, SchemeContext, Turn, peer_names, unwrap
from tutelage.schemes.collaborative_player import CollaborativePlayer, branch_outputs
from tutelage.schemes.peer_ensembles import EnsembleName, create_ensemble
from tutelage.structures import Batch, Inputs, Outputs
from tutelage.utils.options import Fraction, FractionBelowOne, Layer, SmallCountOrZero


class Collaborative(Scheme):
    """Students with one loss over all their outputs: separate networks or branches; each ends as a complete network.

    Args:
        split: the first layer that every student has for itself ("auto": the layers after the last stage but one);
            None: the students share no layer.
        ensemble: how the students' outputs are combined: none, gate, attention, fusion, feature_fusion.
        scale_gradient: multiply the gradient by 1/K where K branches meet.
        rise: the fraction of the training over which the weight of the students' mutual teaching rises.
        own_views: give each student its own augmentation of the batch.
        average: the decay of moving averages of the students, which then teach the other students; None: no averages.
            The decay begins as 1 − 1/(n + 1).
        others: the number of further samples of its class that accompany each sample of a batch.

    Raises: ConfigError for fewer than two students, or an unknown ensemble.
    """

    name = "together"

    takes_teacher: ClassVar[bool] = False
    has_peers: ClassVar[bool] = True
    provides = ("peer_weights", "mutual_ramp")

    def __init__(
        self,
        group: CollaborativePlayer,
        data: DataModule | None = None,
        seed: int = 0,
        own_views: bool = False,
        average: FractionBelowOne | None = None,
        others: SmallCountOrZero = 0,
    ) -> None:
        super().__init__()
        if len(group.students()) < 2:
            raise ConfigError(f"scheme=together needs at least two students, got {len(group.students())}.")
        self.batching = {"sampling": "grouped", "group_size": others} if others else {}
        self.makes_inputs = own_views
        self.players = nn.ModuleDict({"peers": group})
        self.data, self.seed, self.own_views, self.decay = data, seed, own_views, average
        self.average: _MovingAverages | None = None
        self.epoch_weights: tuple[int, Tensor] | None = None

    @classmethod
    def from_context(
        cls,
        context: SchemeContext,
        split: Layer | None = None,
        ensemble: EnsembleName = "none",
        scale_gradient: bool = False,
        rise: Fraction = 0.0,
        own_views: bool = False,
        average: FractionBelowOne | None = None,
        others: SmallCountOrZero = 0,
    ) -> Collaborative:
        """Build as many students as the run has peers."""
        settings, names = context.settings, peer_names(context)
        if split is not None and (settings.compile or settings.recompute or settings.sharded):
            raise ConfigError(
                "students that share layers (split=…) can't be compiled, recomputed or sharded: remove compile, "
                "recompute and strategy."
            )
        networks = {name: context.network(k, name) for k, name in enumerate(names)}
        terms = context.terms(add_task_loss=False)
        if not any(term.loss.list_inputs for term in terms.named_terms().values()):
            terms = context.terms()
        gradient = 1 / len(names) if scale_gradient else 1.0
        group = CollaborativePlayer(
            networks, terms, context.task, create_ensemble(ensemble), split, gradient, rise * settings.epochs
        )
        return cls(group, context.data, context.seed, own_views and context.data.is_random, average, others)

    def wire(self, batch: Batch, samples: int) -> None:
        """Split the branches, and size the ensemble and the terms."""
        group: CollaborativePlayer = unwrap(self.players["peers"])
        group.wire(batch, samples, self.provides)
        if self.decay is not None:
            self.average = _MovingAverages(group.branches, self.decay)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield one turn for all students."""
        group: CollaborativePlayer = unwrap(self.players["peers"])
        inputs = self._views(batch, len(group.students())) if self.own_views else None
        losses = [term.loss for term in group.group_terms.named_terms().values()]
        if any(isinstance(loss, KDCL) and loss.variant == "general" for loss in losses):
            batch = replace(batch, extras=batch.extras | {"peer_weights": self._validation_weights(group, batch)})
        yield "peers", self.players["peers"](batch, inputs, self._averages(group, batch, inputs))

    def terms(self) -> dict[str, Terms]:
        """Return the terms of the group, and for each student the terms that all students share."""
        group: CollaborativePlayer = unwrap(self.players["peers"])
        by_prefix = {"peers/": group.list_terms(), **{f"peers/{name}/": group.peer_terms for name in group.students()}}
        return {prefix: terms for prefix, terms in by_prefix.items() if terms}

    def method_terms(self) -> Terms:
        """Return the group's terms and the students'."""
        return unwrap(self.players["peers"]).method_terms()

    def _views(self, batch: Batch, count: int) -> list[Inputs]:
        """Return the batch's images for the first student, and new augmentations of the same samples for each other."""
        data, x = self.data, batch.inputs
        assert data is not None
        assert batch.index is not None
        assert isinstance(x, Tensor)
        layout = torch.channels_last if x.dim() == 4 and not x.is_contiguous() else None
        view, index = int(batch.epoch) * count, batch.index.cpu()
        view_batches = (data.view_batches([index], view + k, ~self.seed, x.device, layout) for k in range(1, count))
        return [x, *(next(iter(batches)).inputs for batches in view_batches)]

    @torch.no_grad()
    def _averages(self, group: CollaborativePlayer, batch: Batch, inputs: list[Inputs] | None) -> list[Outputs] | None:
        return None if self.average is None else branch_outputs(self.average, group.task, batch, inputs)

    def _validation_weights(self, group: CollaborativePlayer, batch: Batch) -> Tensor:
        """Return the students' weights from their errors on the validation split, computed once per epoch."""
        epoch = int(batch.epoch)
        if self.epoch_weights is None or self.epoch_weights[0] != epoch:
            self.epoch_weights = epoch, self._compute_weights(group)
        return self.epoch_weights[1].to(group.device())

    def _compute_weights(self, group: CollaborativePlayer) -> Tensor:
        assert self.data is not None, "the weights are computed on the validation split"
        errors: list[Tensor] = []
        with eval_no_grad(group):
            for val_batch in self.data.batches("val", 256, train=False, device=group.device()):
                outputs = torch.stack([student.response.softmax(1) for student in group.forward_student(val_batch)])
                assert val_batch.targets is not None
                errors.append((outputs - F.one_hot(val_batch.targets, outputs.shape[2])).flatten(1))
        return generalisation_weights(torch.cat(errors, dim=1))

    def after_step(self) -> None:
        """Update the moving averages."""
        if self.average is not None:
            self.average.update_parameters(unwrap(self.players["peers"]).branches)

    def checkpoint_state(self) -> dict[str, Any]:
        """Return the moving averages, and the current epoch's weights."""
        average = {} if self.average is None else {"average": self.average.state_dict()}
        epoch, weights = self.epoch_weights or (-1, None)
        return average | ({} if weights is None else {"epoch": epoch, "weights": weights})

    def load_checkpoint_state(self, state: Mapping[str, Any]) -> None:
        """Restore the moving averages and the epoch's weights."""
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if "weights" in state:
            self.epoch_weights = state["epoch"], state["weights"]


class _MovingAverages(AveragedModel):
    """The moving average of several networks, always in eval mode."""

    def __init__(self, branches: nn.Module, decay: float) -> None:
        def mix(average: Tensor, current: Tensor, number: Tensor | int) -> Tensor:
            factor = min(1 - 1 / (float(number) + 1), decay)
            return factor * average + (1 - factor) * current

        super().__init__(branches, avg_fn=mix, use_buffers=True)
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> _MovingAverages:
        """Stay in eval mode."""
        return super().train(False)
