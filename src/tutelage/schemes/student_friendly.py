"""Training of a teacher together with branches of its later student (SFTN)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError
from tutelage.losses.response.kd import KD
from tutelage.nn import connectors
from tutelage.nn.feature_extractor import to_float32
from tutelage.nn.model_profile import ModelProfile, pair_stages, profile_model
from tutelage.nn.tail import Tail
from tutelage.objective.player import Player
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.schemes.base import SchemeContext, SelfTaught
from tutelage.structures import Batch, Outputs
from tutelage.tasks.base import Task
from tutelage.utils.options import NonNegative, Temperature


class StudentFriendly(SelfTaught):
    """A network learns together with branches of its later student, which aren't exported.

    L = L(z) + agreement · (1/K) Σ_k T² · KL(p_k ‖ p) + branches · (1/K) Σ_k L(z_k), L the task loss, z_k the
    logits of the k-th branch and p_k their softmax at T = temperature; both sides of the divergence get its gradient. A
    branch begins at the end of a stage, for all stages except the last, and consists of a 1×1 convolution with batch
    norm and the student's stages after the paired one.

    Args:
        student: the model of the branches; None: the run's student.
        agreement: the weight of the divergence.
        branches: the weight of the branches' task losses.
        temperature: T.
    Paper: Park, Cha, Jeong, Kim, Han. NeurIPS 2021. arXiv:2102.07650 (SFTN). The temperature and the form of the
    transforms are ours.
    Raises: ConfigError for a negative weight, a temperature that isn't above 0, sharded weights, or a method (the
    scheme has its own losses); ModelError if the two networks have no stages before the last that pair.
    """

    name = "student_friendly"

    @classmethod
    def from_context(
        cls,
        context: SchemeContext,
        student: str | None = None,
        agreement: NonNegative = 3.0,
        branches: NonNegative = 1.0,
        temperature: Temperature = 1.0,
    ) -> StudentFriendly:
        """Build the phase's network, and branches of the student that it will teach."""
        if context.settings.sharded:
            raise ConfigError(
                "scheme=student_friendly runs parts of networks, which can't be sharded: use strategy=ddp."
            )
        if context.method is not None:
            raise ConfigError(
                f"scheme=student_friendly has its own losses, so method={context.method!r} would have no effect: "
                "remove method."
            )
        terms = Terms.from_method(Term(KD(temperature), agreement, task_loss_weight=1.0), context.task.task_loss())
        network = context.network()
        return cls(BranchedPlayer(network, terms, context.task, lambda: context.new_student(student), branches))


class BranchedPlayer(Player):
    """A network with branches of its later student.

    Args:
        model: the network.
        terms: the terms that compare the network with its branches.
        task: the task.
        create_student: a function that returns a new student.
        weight: the weight of the branches' supervised terms.
    """

    def __init__(
        self, model: nn.Module, terms: Terms, task: Task, create_student: Callable[[], nn.Module], weight: float = 1.0
    ) -> None:
        super().__init__(model, terms, task)
        self.create_student, self.weight = create_student, weight
        self.ends: list[str] = []
        self.branches = nn.ModuleList()

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Pair the stages, and build the branches."""
        profile = profile_model(self.student.model, batch)
        device = profile.response.device
        student = profile_model(self.create_student().to(device), batch)
        pairs = pair_stages(student.stages, profile.stages)[:-1]
        if not pairs:
            raise ModelError(
                f"scheme=student_friendly: {type(student.model).__name__} and {type(profile.model).__name__} have no "
                "stages that pair before the last one, at which a branch of the student could begin; use other models."
            )
        self.ends = [stage.name for _, stage in pairs]
        for student_stage, stage in pairs:
            connector = connectors.build_connector(
                "conv1x1", profile.feature(stage.name), student.feature(student_stage.name)
            )
            tail = Tail(self.create_student().to(device), student_stage.name, profile.inputs)
            self.branches.append(nn.Sequential(connector, tail))
        profile = replace(profile, response=self.task.response(profile.response, batch))
        self.terms.wire(profile, profile, batch, samples, provides)
        self.metadata = profile.metadata
        self.set_captured_layers(self.ends)

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """Run one forward of the network and of each branch, and return the weighted terms."""
        student_outputs = self.forward_student(batch)
        branch_ends = zip(self.branches, self.ends, strict=True)
        branch_outputs = [
            Outputs(self.task.response(to_float32(branch(student_outputs[end])), batch)) for branch, end in branch_ends
        ]
        losses = self.compare_with_each(student_outputs, branch_outputs, batch)
        with torch.autocast(student_outputs.response.device.type, enabled=False):
            mask = self.task.stream_mask(batch)
            supervised = [self.terms.supervised_terms(outputs, None, batch, mask) for outputs in branch_outputs]
        values = [value for terms in supervised for value in terms.values()]
        return losses | {"branches": self.weight * torch.stack(values).sum() / len(branch_outputs)}
