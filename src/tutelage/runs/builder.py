"""Builds the terms, networks and teachers of one run."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from torch import Tensor

from tutelage.config.methods import term_specs
from tutelage.config.schema import Config
from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.objective.terms import Terms
from tutelage.runs.inputs import RunInputs
from tutelage.runs.networks import NetworkLoader
from tutelage.runs.teachers import TeacherFactory
from tutelage.utils.key_types import Size


class RunBuilder:
    """Builds the parts of one run, from the networks that it names and those of its earlier phases."""

    def __init__(self, networks: NetworkLoader) -> None:
        self.networks, self.teachers = networks, TeacherFactory(networks)
        self.inputs, self.plan, self.storage = networks.inputs, networks.plan, networks.storage

    def for_inputs(self, inputs: RunInputs) -> RunBuilder:
        """Return the builder for other inputs, such as a stage's."""
        return self if inputs is self.inputs else RunBuilder(self.networks.for_inputs(inputs))

    def for_column(self, column: str | None) -> RunBuilder:
        """Return the builder for one label column of the data; None for all columns."""
        return RunBuilder(self.networks.for_column(column))

    def for_view(self, inputs: str | Sequence[str] | None, size: Size | None = None) -> RunBuilder:
        """Return the builder for a model that gets these inputs, at this size."""
        return RunBuilder(self.networks.for_view(inputs, size))

    def terms(self, config: Config, add_task_loss: bool = True, first: Mapping[str, Tensor] | None = None) -> Terms:
        """Build a method's terms, with the task's loss in addition where `add_task_loss` and the method has none.

        first: the state that the terms begin with.
        """
        provided, task_loss = self.inputs.provided.method, self.inputs.task.task_loss() if add_task_loss else None
        own = provided is not None and config.method == self.inputs.config.method
        method = copy.deepcopy(provided) if own else term_specs(config.method)  # phases and peers share nothing
        weight = "paper" if config.sharded else config.weight  # sharded, no gradients are measured
        is_response = self.inputs.task.response_kind in ("embedding", "features")  # losses of embeddings train it
        terms = Terms.from_method(method, task_loss, first, weight == "auto" and not is_response)
        if config.class_weights is not None and task_loss is not None:
            _refuse_unweighted(terms, task_loss)
        steps = config.epochs * self.inputs.data_with(config).steps(config.batch_size)
        terms.settle(weight, config.epochs, steps)
        return terms


def _refuse_unweighted(terms: Terms, task_loss: Loss) -> None:
    """Refuse weights of classes where the method has a supervised loss in place of the task's.

    Raises: ConfigError that names it.
    """
    supervised = {name: term.loss for name, term in terms.named_terms().items() if not term.loss.needs_teacher}
    if supervised and all(loss is not task_loss for loss in supervised.values()):
        names = ", ".join(supervised)
        raise ConfigError(
            f"class_weights weigh the task loss, and the method has {names} in its place: leave {names} out, or give "
            "it the weights ({name: ce, class_weights: [1, 5]})."
        )
