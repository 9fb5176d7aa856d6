"""`RunLedger`: which rollouts belong to which of the runs that share a store, so that each run counts its own.

```
run A ── record(ro-1) ──▶ page A ┐
run B ── record(ro-2) ──▶ page B ┴▶ ledger of the store: A's runner may have run ro-2, and B counts it
```
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["RunLedger", "RunPage"]


class RunLedger:
    """The rollouts that runs have recorded in one store, for as long as any run is under way there."""

    def __init__(self) -> None:
        self.recorded: set[str] = set()
        self._open = 0

    def open(self) -> RunPage:
        """Begin a run."""
        self._open += 1
        return RunPage(self)

    def close(self, left_over: Iterable[str]) -> None:
        """End a run. What it left in the queue is whose runners run it; the rest stays its own."""
        self._open -= 1
        if self._open:
            self.recorded.difference_update(left_over)
        else:
            self.recorded.clear()


class RunPage:
    """What one run has recorded, in order."""

    def __init__(self, ledger: RunLedger) -> None:
        self._ledger = ledger
        self.recorded: dict[str, None] = {}

    def record(self, rollout_ids: Iterable[str]) -> None:
        """Note that this run recorded these rollouts."""
        for rollout_id in rollout_ids:
            self.recorded[rollout_id] = None
            self._ledger.recorded.add(rollout_id)

    def is_of_another(self, rollout_id: str) -> bool:
        """Whether another run recorded this rollout, and counts it."""
        return rollout_id not in self.recorded and rollout_id in self._ledger.recorded

    def close(self, left_over: Iterable[str] = ()) -> None:
        """End the run; see `RunLedger.close`."""
        self._ledger.close(left_over)
