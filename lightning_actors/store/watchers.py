"""`Watchers`: who is told of work in the queue, and of attempts that the store ends; they are told by changes alone.

```
watch_queue(ready)           a change queued a rollout      ready()
watch_attempt(id, stop)      a change stopped the attempt   stop(reason), once
```

No tables are needed to tell them: a home whose tables are in another thread hands its changes over once they are
committed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lightning_actors.store import rules
from lightning_actors.store.change import Change
from lightning_actors.store.loop_guard import LoopGuard

__all__ = ["Watchers"]


class Watchers:
    """Those who watch one store, on its loop. What they do when told must be quick and must not raise.

    Args:
        guard: The store's loop; whoever watches uses it.
    """

    def __init__(self, guard: LoopGuard) -> None:
        self._guard = guard
        self._of_queue: dict[object, Callable[[], None]] = {}
        self._of_attempts: dict[str, _AttemptWatch | dict[_AttemptWatch, None]] = {}
        """Nearly always one; there is a dict for each attempt that has had several at a time."""

    def __len__(self) -> int:
        return len(self._of_queue) + sum(len(_each(watches)) for watches in self._of_attempts.values())

    @property
    def listeners(self) -> int:
        """How many are told of work in the queue."""
        return len(self._of_queue)

    def is_watched(self, attempt_id: str) -> bool:
        """Whether anybody is told when this attempt is stopped."""
        return attempt_id in self._of_attempts

    def watch_queue(self, ready: Callable[[], None]) -> Callable[[], None]:
        """Have ``ready`` called whenever a rollout was queued; answers what ends the watch."""
        self._guard.enter()
        token = object()
        self._of_queue[token] = ready

        def leave() -> None:
            if self._of_queue.pop(token, None) is not None:
                self._guard.leave()

        return leave

    def watch_attempt(self, attempt_id: str, stop: Callable[[str], None]) -> Callable[[], None]:
        """Have ``stop`` called once when this attempt, which is open, is stopped; answers what ends the watch."""
        self._guard.enter()
        watch = _AttemptWatch(self, attempt_id, stop)
        others = self._of_attempts.get(attempt_id)
        if others is None:
            self._of_attempts[attempt_id] = watch
        elif isinstance(others, dict):
            others[watch] = None
        else:
            self._of_attempts[attempt_id] = {others: None, watch: None}
        return watch

    def unwatch(self, watch: _AttemptWatch) -> None:
        """Forget a watcher of an attempt."""
        self._guard.leave()
        watches = self._of_attempts.get(watch.attempt_id)
        if isinstance(watches, dict):
            watches.pop(watch, None)
        if watches is watch or not watches:
            self._of_attempts.pop(watch.attempt_id, None)

    def tell(self, change: Change[Any]) -> None:
        """Tell those whom a change concerns."""
        for attempt_id, reason in change.stopped:
            self.tell_stopped(attempt_id, reason)
        for rollout in change.rollouts:
            if rollout.status in rules.ROLLOUT_QUEUED:
                for ready in tuple(self._of_queue.values()):
                    ready()
                return

    def tell_stopped(self, attempt_id: str, reason: str) -> None:
        """Tell those who watch an attempt that it is over, and why."""
        watches = self._of_attempts.pop(attempt_id, None)
        if watches is not None:
            for watch in _each(watches):
                watch.stop(reason)


def _each(watches: _AttemptWatch | dict[_AttemptWatch, None]) -> Sequence[_AttemptWatch]:
    return tuple(watches) if isinstance(watches, dict) else (watches,)


class _AttemptWatch:
    """Someone who is to be told when the store ends an attempt; called, it watches no longer."""

    __slots__ = ("_is_watching", "_watchers", "attempt_id", "stop")

    def __init__(self, watchers: Watchers, attempt_id: str, stop: Callable[[str], None]) -> None:
        self._watchers = watchers
        self._is_watching = True
        self.attempt_id = attempt_id
        self.stop = stop

    def __call__(self) -> None:
        """Watch no longer; a second time changes nothing."""
        if self._is_watching:
            self._is_watching = False
            self._watchers.unwatch(self)
