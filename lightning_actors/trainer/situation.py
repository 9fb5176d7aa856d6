"""What a run is doing, seen without its help: `RunTree`, `RolloutSituation`, and `RunView`, which makes them.

```
trainer.tree()                 the actors, from any thread and from a signal handler
trainer.explain(rollout_id)    the store's explanation, and what the runners say of the rollout
```
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lightning_actors.actors import ActorInfo, ActorTree, Supervisor
from lightning_actors.runner.execution import agent_call
from lightning_actors.runner.rig import Rig
from lightning_actors.types import Explanation, RolloutStatus

__all__ = ["RolloutSituation", "RunTree", "RunView"]

_SHOWN = 10
_OPEN: dict[str, list[RolloutStatus]] = {"under way": ["preparing", "running"], "queued": ["queuing", "requeuing"]}


@dataclass(frozen=True, slots=True)
class RunTree:
    """What every actor of a run is doing; ``str()`` is a readable tree.

    Attributes:
        actors: The actors in order of start; none if no run is under way.
        left_behind: Agent calls of this run that did not end when they were asked to.
    """

    actors: ActorTree = field(default_factory=ActorTree)
    left_behind: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [str(self.actors) if self.actors else "no run is under way"]
        if self.left_behind:
            names = ", ".join(self.left_behind[-_SHOWN:])
            more = "" if len(self.left_behind) <= _SHOWN else f", and {len(self.left_behind) - _SHOWN:,} before them"
            lines.append(f"left behind: {names}{more}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class RolloutSituation:
    """Why a rollout has not ended: what the store knows, and what the runners say; ``str()`` says it in words.

    Attributes:
        explanation: The store's.
        runners: The runners of the run under way that have the rollout in hand.
        left_behind: Whether an agent call of it did not end when it was asked to.
    """

    explanation: Explanation
    runners: tuple[ActorInfo, ...] = ()
    left_behind: bool = False

    def __str__(self) -> str:
        lines = [str(self.explanation)]
        rollout_id = self.explanation.rollout_id
        lines += [
            f"{info.name} has it in hand: {held.doing} for {held.seconds:,.1f} s."
            for info in self.runners
            for held in info.holds
            if held.name == rollout_id
        ]
        if not self.runners and self.explanation.status in {"preparing", "running"}:
            lines.append("No runner of this trainer has it in hand.")
        if self.left_behind:
            lines.append("An agent call of it was left behind: it did not end when it was asked to.")
        return "\n".join(lines)


class RunView:
    """Looks at a run.

    Args:
        rig: The run's; its store is the one that outlives the run.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.supervisor: Supervisor | None = None

    def tree(self) -> RunTree:
        """What every actor is doing."""
        supervisor = self.supervisor
        actors = ActorTree() if supervisor is None else supervisor.tree()
        return RunTree(actors, tuple(self.rig.left_behind))

    async def explain(self, rollout_id: str) -> RolloutSituation:
        """Why a rollout has not ended. Raises RolloutNotFound."""
        return self._around(await self.rig.store.explain_rollout(rollout_id))

    async def explain_first(self, count: int) -> str:
        """The rollouts under way and those queued that were recorded first, so many of each, explained in words."""
        paragraphs: list[str] = []
        for what, statuses in _OPEN.items():
            page = await self.rig.store.query_rollouts(status_in=statuses, sort_by="start_time", limit=count)
            paragraphs += [str(await self.explain(rollout.rollout_id)) for rollout in page]
            if page.total > len(page):
                paragraphs.append(f"… and {page.total - len(page):,} more {what}")
        return "\n".join(paragraphs) or "no rollout is queued or under way"

    def _around(self, explanation: Explanation) -> RolloutSituation:
        rollout_id = explanation.rollout_id
        runners = tuple(info for info in _flat(self.tree().actors) if any(h.name == rollout_id for h in info.holds))
        return RolloutSituation(explanation, runners, agent_call(rollout_id) in self.rig.left_behind)


def _flat(infos: Iterable[ActorInfo]) -> Iterable[ActorInfo]:
    for info in infos:
        yield info
        yield from _flat(info.children)
