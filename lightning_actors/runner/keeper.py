"""`KeeperActor`: what a whole pool needs once: the heartbeat, the span flush, and a watch over the event loop."""

from __future__ import annotations

import os
from collections.abc import Sequence

from lightning_actors.actors import Actor
from lightning_actors.log import get_logger
from lightning_actors.runner.rig import Rig

__all__ = ["KeeperActor", "keep_flushing"]

log = get_logger("lightning_actors.runner")

_FLUSH_SECONDS = 1.0
_LATE_SECONDS = 2.0


async def keep_flushing(rig: Rig) -> None:
    """Write spans while their rollouts run, so that they can be read meanwhile and count as signs of life."""
    while True:
        before, running, begun = rig.clock.monotonic(), len(rig.running), rig.begun.total
        await rig.clock.sleep(_FLUSH_SECONDS)
        late = rig.clock.monotonic() - before - _FLUSH_SECONDS
        running += rig.begun.total - begun  # what blocked the loop may have ended by now
        if late > _LATE_SECONDS and running:
            log.warning(
                "event_loop_blocked",
                seconds=round(late, 1),
                running=running,
                hint="an async agent that blocks holds up all others: make it a sync agent, which gets a thread. "
                "Or there is more to do at once than one core can",
            )
        try:
            await rig.tracer.flush()
        except Exception as error:  # noqa: BLE001 - boundary: the store; the spans stay pending and go with the next
            log.warning("flush_failed", error=repr(error))


class KeeperActor(Actor):
    """One for all runners that share a rig.

    Args:
        rig: What they work with.
        worker_ids: Their names in the store.
        heartbeat_interval: Seconds between heartbeats; 0 for none.
    """

    def __init__(self, rig: Rig, worker_ids: Sequence[str], *, heartbeat_interval: float) -> None:
        self._rig = rig
        self._worker_ids = list(worker_ids)
        self._interval = heartbeat_interval

    async def started(self) -> None:
        """Begin."""
        self.start_soon(self._rig.store.keep_time)
        self.start_soon(keep_flushing, self._rig)
        if self._interval > 0:
            self.start_soon(self._beat)

    async def _beat(self) -> None:
        """Tell the store that the workers, and what they run, are alive."""
        while True:
            running = [(rollout_id, attempt_id) for attempt_id, rollout_id in self._rig.running.items()]
            stats = {"pid": os.getpid(), "running": len(running), "left_behind": len(self._rig.left_behind)}
            try:
                await self._rig.store.update_many_workers(self._worker_ids, stats, running)
            except Exception as error:  # noqa: BLE001 - boundary: the store; the next heartbeat is due soon
                log.warning("heartbeat_failed", error=repr(error))
            await self.clock.sleep(self._interval)
