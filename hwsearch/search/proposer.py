"""Proposer: what samplers that choose all parameters together have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from hwsearch.cost.columns import Ints
from hwsearch.pricing import Pricing
from hwsearch.search.study import distributions

if TYPE_CHECKING:
    from optuna.study import Study


class Proposer(BaseSampler):
    """Optuna's face of a sampler that proposes rows of ranks; one gives :meth:`propose`.

    Args:
        pricing: whose ranks are the study's parameters.
    """

    def __init__(self, pricing: Pricing) -> None:
        self.pricing = pricing

    @abstractmethod
    def propose(self, study: Study, trial: FrozenTrial) -> Ints:
        """int64 [parameters]: the ranks of the next trial."""

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All parameters: they are proposed together."""
        return distributions(self.pricing.ranks.parameters)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters of the next trial."""
        names = self.pricing.ranks.names(self.propose(study, trial))
        return {name: names[name] for name in search_space}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A parameter that is none of the pricing's: drawn at random."""
        return RandomSampler(trial.number).sample_independent(
            study, trial, param_name, param_distribution
        )
