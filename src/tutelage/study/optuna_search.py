"""A search by Optuna, which proposes each trial's point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage.models.providers import import_required
from tutelage.study.search_space import Point, SearchSpace

RANDOM = 10
"""The trials at random points before the model's."""


@dataclass(frozen=True)
class TuningTrial:
    """One trial: its number, its point, and what came of it.

    state: "done", "stopped" (it was hopeless) or "failed", with the reason; or "running". value: the metric of
    validation. curve: that of each epoch, one training after the other.
    """

    number: int
    point: Point
    state: str
    value: float | None = None
    curve: Sequence[float] = field(default_factory=list)
    reason: str = ""


@dataclass(frozen=True)
class OptunaSearch:
    """Optuna's tree-structured Parzen estimator.

    Each answer is a function of the seed and of the trials before, not of the process that computes it: a search that
    was killed goes on as if it hadn't been.

    Bergstra, Bardenet, Bengio, Kégl. Algorithms for Hyper-Parameter Optimization. NeurIPS 2011.
    Akiba, Sano, Yanase, Ohta, Koyama. Optuna: A Next-generation Hyperparameter Optimization Framework. KDD 2019.

    Args:
        space: the space.
        seed: of the points.
        higher_is_better: the direction of the metric.
    """

    space: SearchSpace
    seed: int
    higher_is_better: bool

    def propose(self, trials: Sequence[TuningTrial], begun: Sequence[Point] = ()) -> Point:
        """Return the next trial's point; the first has the configuration's own values where the space has them.

        trials: those whose results are known. begun: the points of those that run, from which it keeps away.
        """
        study = self._study(trials, begun)
        if not trials and not begun:
            study.enqueue_trial(self._codes(self.space.own_values()))
        codes = study.ask(self._distributions()).params
        return {path: parameter.decode(codes[path]) for path, parameter in self.space.parameters.items()}

    def importances(self, trials: Sequence[TuningTrial]) -> dict[str, float]:
        """Return each parameter's part of the variance of the metric, largest first; empty for fewer than 4 trials.

        Hutter, Hoos, Leyton-Brown. An Efficient Approach for Assessing Hyperparameter Importance. ICML 2014.
        """
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        values = [trial.value for trial in trials if trial.state == "done"]
        if len(values) < 4 or len({*values}) < 2:
            return {}
        return dict(get_param_importances(self._study(trials), evaluator=FanovaImportanceEvaluator(seed=self.seed)))

    def _codes(self, point: Point) -> dict[str, Any]:
        return {path: self.space.parameters[path].encode(value) for path, value in point.items()}

    def _distributions(self) -> dict[str, Any]:
        return {path: parameter.distribution() for path, parameter in self.space.parameters.items()}

    def _study(self, trials: Sequence[TuningTrial], begun: Sequence[Point] = ()) -> Any:
        """Return a study in memory that has these trials; its random numbers are those of the next trial."""
        optuna = import_optuna()
        seed = (self.seed * 1_000_003 + len(trials) + len(begun)) % 2**32
        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(n_startup_trials=RANDOM, seed=seed, constant_liar=True),
            direction="maximize" if self.higher_is_better else "minimize",
        )
        states = {"done": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL", "running": "RUNNING"}
        for trial in [*trials, *(TuningTrial(len(trials), point, "running") for point in begun)]:
            study.add_trial(
                optuna.trial.create_trial(
                    params=self._codes(trial.point),
                    distributions=self._distributions(),
                    value=trial.value if trial.state == "done" else None,
                    intermediate_values=dict(enumerate(trial.curve)),
                    state=optuna.trial.TrialState[states[trial.state]],
                )
            )
        return study


def import_optuna() -> Any:
    """Return Optuna, without its log.

    Raises: ModelError if it isn't installed.
    """
    optuna = import_required("optuna", "pip install 'tutelage[tune]'")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
