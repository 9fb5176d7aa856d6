"""`Census`: which of its store's rollouts a run counts; the rules are those of the store's `RunLedger`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Self

from lightning_actors.errors import RunnerError
from lightning_actors.store import LightningStore
from lightning_actors.store.run_ledger import RunPage
from lightning_actors.types import AttemptedRollout, Rollout

__all__ = ["Census"]

_PAGE = 500


class Census:
    """A run's part in what a store remembers. To be entered around the run and the making of its result.

    Args:
        store: The store that outlives the run.
    """

    def __init__(self, store: LightningStore) -> None:
        self._store = store
        self._recorded_before = 0
        self._page: RunPage | None = None

    def __enter__(self) -> Self:
        self._page = self._store.run_ledger.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.page.close(is_seen=kind is None)

    @property
    def page(self) -> RunPage:
        """Where to note what the run records and claims."""
        if self._page is None:
            raise RunnerError("a run counts its rollouts within `with run.census:`")
        return self._page

    async def begin(self) -> None:
        """What is recorded from now on may be this run's."""
        self._recorded_before = (await self._store.query_rollouts(limit=1)).total

    async def take(self) -> list[Rollout]:
        """What the run counts: what was there before and was run here, then what has been recorded, oldest first."""
        recorded = [rollout async for rollout in self._recorded_since() if await self._counts(rollout, is_new=True)]
        others = sorted(self.page.concerned.difference(rollout.rollout_id for rollout in recorded))
        if not others:
            return recorded
        found = await self._store.query_rollouts(rollout_id_in=others, sort_by="start_time")
        return [*[rollout for rollout in found if await self._counts(rollout, is_new=False)], *recorded]

    async def _counts(self, rollout: Rollout, *, is_new: bool) -> bool:
        """Whether the run counts this rollout; no other does so from then on, but where it is left over."""
        page, id_ = self.page, rollout.rollout_id
        is_ours = page.is_own(id_) or await self._was_run_here(rollout) or (is_new and self._is_nobodys(rollout))
        if page.is_of_another(id_) or not is_ours:
            return False
        page.count(rollout)
        return True

    async def _was_run_here(self, rollout: Rollout) -> bool:
        page, id_ = self.page, rollout.rollout_id
        if not page.has_claimed(id_) or not isinstance(rollout, AttemptedRollout):
            return False
        attempts = [rollout.attempt]
        if rollout.attempt.sequence_id > page.attempts_left_over(id_) + 1:  # there are more to look at
            attempts = list(await self._store.query_attempts(id_))
        return page.was_first_to_run(id_, attempts)

    def _is_nobodys(self, rollout: Rollout) -> bool:
        """Whether no run has had to do with it: the answer to an algorithm that is stopped meanwhile may be lost."""
        was_run = isinstance(rollout, AttemptedRollout)
        return not (was_run or self.page.is_left_over(rollout.rollout_id) or self.page.may_be_recorded_elsewhere)

    async def _recorded_since(self) -> AsyncGenerator[Rollout]:
        offset = self._recorded_before
        while True:
            rollouts = await self._store.query_rollouts(sort_by="start_time", limit=_PAGE, offset=offset)
            for rollout in rollouts:
                yield rollout
            offset += len(rollouts)
            if len(rollouts) < _PAGE:
                return
