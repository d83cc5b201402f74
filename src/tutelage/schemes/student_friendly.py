"""A teacher that is trained so that its student can follow it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError
from tutelage.losses.response.kd import KD
from tutelage.nn import connectors
from tutelage.nn.feature_extractor import to_float32
from tutelage.nn.model_profile import ModelProfile, pair, profile_model
from tutelage.nn.tail import Tail
from tutelage.objective.player import Player
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.schemes.base import SchemeContext, SelfTaught
from tutelage.structures import Batch, Outputs
from tutelage.tasks.base import Task
from tutelage.utils.options import NonNegative, Temperature


class StudentFriendly(SelfTaught):
    """A network learns together with branches of its later student, which are left out in the end.

    L = L(z) + agreement · (1/K) Σ_k T² · KL(p_k ‖ p) + branches · (1/K) Σ_k L(z_k), L the task's loss, z_k what the
    k-th branch says and p its softmax at T = temperature; both sides of the divergence get its gradient. A branch is a
    1×1 convolution with batch norm from the end of a stage, all but the last, and the student's stages after its own.
    student: the branches' model; None: the run's student.
    Paper: Park, Cha, Jeong, Kim, Han. NeurIPS 2021. arXiv:2102.07650 (SFTN). The temperature and the form of the
    transforms are ours.
    Raises: ConfigError for a negative weight or a temperature that isn't above 0, shares of weights, or another method
    (its losses are its own); ModelError
    if the two networks have no two stages that pair.
    """

    name = "student_friendly"

    @classmethod
    def from_context(
        cls,
        parts: SchemeContext,
        student: str | None = None,
        agreement: NonNegative = 3.0,
        branches: NonNegative = 1.0,
        temperature: Temperature = 1.0,
    ) -> StudentFriendly:
        """The phase's network, and branches of the student that it is to teach."""
        if parts.settings.sharded:
            raise ConfigError("scheme=student_friendly runs parts of networks, which can't be divided: strategy=ddp.")
        if parts.method is not None:
            raise ConfigError(
                f"scheme=student_friendly has losses of its own, and method={parts.method!r} would be none of "
                "them: leave method out."
            )
        terms = Terms.from_method([Term(parts.task.task_loss(), 1.0), Term(KD(temperature), agreement)])
        network = parts.network()
        return cls(BranchedPlayer(network, terms, parts.task, lambda: parts.new_student(student), branches))


class BranchedPlayer(Player):
    """A network with branches of its student, which `make` gives afresh; weight: of the branches' own truth."""

    def __init__(
        self, model: nn.Module, terms: Terms, task: Task, make: Callable[[], nn.Module], weight: float = 1.0
    ) -> None:
        super().__init__(model, terms, task)
        self.make, self.weight = make, weight
        self.ends: list[str] = []
        self.branches = nn.ModuleList()

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Pair the stages and graft the branches."""
        profile = profile_model(self.student.model, batch)
        device = profile.response.device
        pupil = profile_model(self.make().to(device), batch)
        pairs = pair(pupil.stages, profile.stages)[:-1]
        if not pairs:
            raise ModelError(
                f"scheme=student_friendly: {type(pupil.model).__name__} and {type(profile.model).__name__} have no "
                "stages "
                "that pair before the last one, after which a branch of the student could begin; use other models."
            )
        self.ends = [theirs.name for _, theirs in pairs]
        for ours, theirs in pairs:
            connect = connectors.make("conv1x1", profile.feature(theirs.name), pupil.feature(ours.name))
            self.branches.append(nn.Sequential(connect, Tail(self.make().to(device), ours.name, profile.inputs)))
        profile = replace(profile, response=self.task.response(profile.response, batch))
        self.terms.wire(profile, profile, batch, samples, provides)
        self.metadata = profile.metadata
        self.set_captured_layers(self.ends)

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """One forward of the network and of each branch."""
        student_outputs = self.forward_student(batch)
        grafts = zip(self.branches, self.ends, strict=True)
        others = [
            Outputs(self.task.response(to_float32(branch(student_outputs[end])), batch)) for branch, end in grafts
        ]
        losses = self.among(student_outputs, others, batch)
        with torch.autocast(student_outputs.response.device.type, enabled=False):
            truths = [self.terms.supervised_terms(other, None, batch, self.task.mask(batch)) for other in others]
        own = [value for truth in truths for value in truth.values()]
        return losses | {"branches": self.weight * torch.stack(own).sum() / len(others)}
