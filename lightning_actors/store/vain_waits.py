"""`VainWaits`: a wait that outlasts its deadline says why, once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Any, cast

from lightning_actors.actors.clock import Clock
from lightning_actors.log import get_logger
from lightning_actors.store.messages import ExplainRollout, StoreWait, WaitForRollouts
from lightning_actors.types import Explanation, Rollout

__all__ = ["VainWaits"]

log = get_logger("lightning_actors.store")

Explain = Callable[[ExplainRollout], Awaitable[Explanation]]

_LOOK_SECONDS = 1.0
"""A wait shorter than this only looks whether they have ended."""
_EXPLAINED = 3
_EXPLAIN_SECONDS = 1.0
"""What the explaining may add to the wait, where the store is slow to answer."""


class VainWaits:
    """Logs one warning for a wait that timed out, with the reasons of the first few rollouts that have not ended.

    Nobody who waits again and again in short pieces is flooded: a wait of less than a second is taken for a look, and
    a warning is given only where a rollout is left that no warning has counted before.

    Args:
        clock: Whose time it is.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: set[str] = set()

    async def tell(self, explain: Explain, message: StoreWait[Any], ended: Any) -> None:
        """Say why the others have not ended, if that was not said before. A wait for the next has no why.

        Args:
            explain: Asks the store.
            message: The wait that timed out.
            ended: What is answered to it: the rollouts that have ended.
        """
        if not isinstance(message, WaitForRollouts) or message.timeout is None or message.timeout < _LOOK_SECONDS:
            return
        have_ended = {rollout.rollout_id for rollout in cast("Sequence[Rollout]", ended)}
        left = {rollout_id: None for rollout_id in message.rollout_ids if rollout_id not in have_ended}
        if self._told.issuperset(left):
            return
        self._told.update(left)
        why = await self._why(explain, left)
        log.warning("wait_timed_out", timeout_seconds=message.timeout, ended=len(ended), left=len(left), why=why)

    async def _why(self, explain: Explain, left: Mapping[str, None]) -> str:
        reasons: list[str] = []
        failure = ""
        try:
            with self._clock.move_on_after(_EXPLAIN_SECONDS):
                for rollout_id in islice(left, _EXPLAINED):
                    explanation = await explain(ExplainRollout(rollout_id))
                    reasons.append(str(explanation))
        except Exception as error:  # noqa: BLE001 - boundary: a store that cannot explain must not cost its waiter the answer
            failure = f" (the store does not explain: {type(error).__name__}: {error})"
        more = len(left) - len(reasons)
        return "\n".join((*reasons, f"… and {more:,} more{failure}") if more else reasons)
