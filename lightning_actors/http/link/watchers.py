"""`Watchers`: who on the client's side wants to be told of the queue and of attempts."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Watchers"]


class Watchers:
    """Those who watch through one link.

    Args:
        watch: Has the server tell of an attempt, or with None of the queue.
        unwatch: Has it tell no more.
    """

    def __init__(self, watch: Callable[[str | None], None], unwatch: Callable[[str | None], None]) -> None:
        self._watch = watch
        self._unwatch = unwatch
        self._of_queue: dict[object, Callable[[], None]] = {}
        self._of_attempts: dict[str, dict[object, Callable[[str], None]]] = {}

    def add_to_queue(self, ready: Callable[[], None]) -> Callable[[], None]:
        """Have this called when something may be in the queue; returns what ends that."""
        token = object()
        if not self._of_queue:
            self._watch(None)
        self._of_queue[token] = ready

        def leave() -> None:
            if self._of_queue.pop(token, None) is not None and not self._of_queue:
                self._unwatch(None)

        return leave

    def add_to_attempt(self, attempt_id: str, stop: Callable[[str], None]) -> Callable[[], None]:
        """Have this called once when the store ends the attempt; returns what ends that."""
        token = object()
        watchers = self._of_attempts.setdefault(attempt_id, {})
        if not watchers:
            self._watch(attempt_id)
        watchers[token] = stop

        def leave() -> None:
            if watchers.pop(token, None) is not None and not watchers and self._of_attempts.get(attempt_id) is watchers:
                del self._of_attempts[attempt_id]
                self._unwatch(attempt_id)

        return leave

    def ready(self) -> None:
        """Something may be in the queue."""
        for ready in tuple(self._of_queue.values()):
            ready()

    def stopped(self, attempt_id: str, reason: str) -> None:
        """The store has ended an attempt."""
        watchers = self._of_attempts.pop(attempt_id, None)
        if watchers is not None:
            self._unwatch(attempt_id)
            told = tuple(watchers.values())
            watchers.clear()
            for stop in told:
                stop(reason)
