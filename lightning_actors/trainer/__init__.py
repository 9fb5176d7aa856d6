"""The trainer: supervises a run and nothing else."""

from __future__ import annotations

from lightning_actors.components import build_component
from lightning_actors.trainer.result import RunResult
from lightning_actors.trainer.situation import RolloutSituation, RunTree
from lightning_actors.trainer.trainer import Trainer

__all__ = ["RolloutSituation", "RunResult", "RunTree", "Trainer", "build_component"]
