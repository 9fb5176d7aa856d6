"""`RolloutIndex`: rollouts in order of time, all of them and by status."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from lightning_actors.store.ordered_keys import OrderedKeys, merged_page
from lightning_actors.types import Rollout, RolloutStatus

__all__ = ["RolloutIndex"]

_Key = tuple[float, int]
"""Start time, and the number of the record, which tells those of the same time apart."""

_UNSORTED = 256


class RolloutIndex:
    """Finds pages of rollouts without looking at those outside the page.

    A new status is noted at once and sorted in with the next read, or together with a few hundred others: most
    rollouts pass several statuses before anyone asks, and a read never has more than those to catch up on.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._keys: dict[str, _Key] = {}
        self._all: OrderedKeys[_Key] = OrderedKeys()
        self._by_status: defaultdict[RolloutStatus, OrderedKeys[_Key]] = defaultdict(OrderedKeys)
        self._sorted_as: dict[str, RolloutStatus] = {}
        self._unsorted: dict[str, RolloutStatus] = {}

    def add(self, rollout: Rollout) -> None:
        """Take in a new rollout."""
        key = (rollout.start_time, len(self._ids))
        self._ids.append(rollout.rollout_id)
        self._keys[rollout.rollout_id] = key
        self._all.add(key)
        self.move(rollout.rollout_id, rollout.status)

    def move(self, rollout_id: str, status: RolloutStatus) -> None:
        """Note a rollout's new status."""
        self._unsorted[rollout_id] = status
        if len(self._unsorted) > _UNSORTED:
            self._sort_in()

    def _sort_in(self) -> None:
        for rollout_id, status in self._unsorted.items():
            key, before = self._keys[rollout_id], self._sorted_as.get(rollout_id)
            if before != status:
                if before is not None:
                    self._by_status[before].discard(key)
                self._by_status[status].add(key)
                self._sorted_as[rollout_id] = status
        self._unsorted.clear()

    def page(
        self,
        statuses: Collection[RolloutStatus] | None,
        rollout_ids: Iterable[str] | None,
        *,
        either: bool,
        offset: int,
        limit: int,
        descending: bool,
    ) -> tuple[list[str], int]:
        """The ids of a page, and how many there are in all; see `Tables.rollouts_page`."""
        groups = self._groups(statuses, rollout_ids, either=either)
        keys = merged_page(groups, offset, limit, descending=descending)
        return [self._ids[number] for _, number in keys], sum(map(len, groups))

    def _groups(
        self, statuses: Collection[RolloutStatus] | None, rollout_ids: Iterable[str] | None, *, either: bool
    ) -> list[OrderedKeys[_Key]]:
        """Sets of keys that have none in common and hold those wanted."""
        if rollout_ids is None:
            return [self._all] if statuses is None else self._with(statuses)
        known = sorted({self._keys[rollout_id] for rollout_id in rollout_ids if rollout_id in self._keys})
        if statuses is None:
            return [_ordered(known)]
        self._sort_in()
        members = frozenset(statuses)
        named = _ordered(k for k in known if (self._sorted_as[self._ids[k[1]]] in members) is not either)
        return [named, *self._with(statuses)] if either else [named]

    def _with(self, statuses: Iterable[RolloutStatus]) -> list[OrderedKeys[_Key]]:
        self._sort_in()
        return [self._by_status[status] for status in dict.fromkeys(statuses)] or [OrderedKeys()]


def _ordered(keys: Iterable[_Key]) -> OrderedKeys[_Key]:
    ordered: OrderedKeys[_Key] = OrderedKeys()
    for key in keys:
        ordered.add(key)
    return ordered
