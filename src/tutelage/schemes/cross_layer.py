"""Peers whose classifiers at several depths teach each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tutelage.nn.feature_extractor import to_float32
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.pairing import layer_list
from tutelage.objective.player import Player
from tutelage.schemes.base import Scheme, SchemeContext, peer_names
from tutelage.schemes.multi_exit import MultiExitPlayer
from tutelage.schemes.mutual import Mutual
from tutelage.structures import Batch, Outputs
from tutelage.utils.options import Layers


class CrossLayer(Mutual, Scheme):  # the registry looks for Scheme by name
    """Mutual learning of peers with classifiers on middle layers; in the end these are left out.

    Losses that take a list of the student get the answers of a peer's classifiers, shallow to deep, its own the last;
    their teachers are another peer's, constants. Of more than two peers, each term is its mean over the others.
    layers: where the classifiers are, in every peer; "auto" takes the end of every stage but the last.
    Paper: Yao, Sun. ECCV 2020. arXiv:2008.07816 (DCM), whose classifiers are made of the network's own blocks; here
    they are bottlenecks.
    """

    name = "cross_layer"

    @classmethod
    def from_context(cls, parts: SchemeContext, layers: Layers = "auto") -> CrossLayer:  # type: ignore[override]
        """As many peers as the run has."""
        at = layer_list(layers)
        return cls(
            {
                name: CrossLayerPlayer(parts.network(k, name), parts.terms(), parts.task, at)
                for k, name in enumerate(peer_names(parts))
            }
        )


class CrossLayerPlayer(MultiExitPlayer):
    """A peer with exits, that says what each of its classifiers says."""

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Make the exits, and wire the terms to a peer."""
        profile = profile_model(self.student.model, batch)
        members = [*(profile.with_response(logits) for _, logits in self.grow(profile)), profile]
        self.terms.wire(replace(profile, members=members), teacher, batch, samples, provides)
        self.metadata = profile.metadata
        self.set_captured_layers()

    def set_captured_layers(self, captured: Sequence[str] = ()) -> None:
        """Capture what enters the exits too."""
        super().set_captured_layers([*self.exits, *captured])

    def forward_student(self, batch: Batch) -> Outputs:
        """What it says, and what all its classifiers say, as members."""
        outputs = super().forward_student(batch)
        exits = [head(outputs[layer])[1] for head, layer in zip(self.heads, self.exits, strict=True)]
        return replace(outputs, members=[Outputs(to_float32(logits)) for logits in (*exits, outputs.response)])

    forward = Player.forward  # the peers teach, not its own deepest layer
