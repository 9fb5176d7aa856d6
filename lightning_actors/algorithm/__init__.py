"""Algorithms: what asks for rollouts and learns from them."""

from __future__ import annotations

from lightning_actors.algorithm.base import Algorithm
from lightning_actors.algorithm.batches import batch_iter_over_dataset
from lightning_actors.algorithm.decorator import FunctionalAlgorithm, algo
from lightning_actors.algorithm.fast import Baseline, FastAlgorithm
from lightning_actors.algorithm.learner import Experience
from lightning_actors.algorithm.online import OnlineAlgorithm
from lightning_actors.algorithm.prompt_bandit import PromptArm, PromptBandit
from lightning_actors.algorithm.prompt_search import PromptSearch, PromptSearchResult
from lightning_actors.algorithm.prompt_space import Demonstrations, Layout

__all__ = [
    "Algorithm",
    "Baseline",
    "Demonstrations",
    "Experience",
    "FastAlgorithm",
    "FunctionalAlgorithm",
    "Layout",
    "OnlineAlgorithm",
    "PromptArm",
    "PromptBandit",
    "PromptSearch",
    "PromptSearchResult",
    "algo",
    "batch_iter_over_dataset",
]
