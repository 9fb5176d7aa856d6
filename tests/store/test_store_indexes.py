"""The store's indexes against plain lists: ordered keys, merged pages, deadlines, conditions."""

from __future__ import annotations

from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lightning_actors.store import ordered_keys
from lightning_actors.store.deadlines import Deadlines
from lightning_actors.store.ordered_keys import OrderedKeys, merged_page
from lightning_actors.store.paging import Conditions, sorted_and_paged
from lightning_actors.store.rollout_index import RolloutIndex
from lightning_actors.store.waiting_line import WaitingLine
from lightning_actors.types import Rollout, RolloutStatus, Worker

Key = tuple[float, int]

keys = some.tuples(some.sampled_from([0.0, 1.0, 2.5, 7.0]), some.integers(0, 60))
names = some.sampled_from("abcdefghijklmnop")
offsets = some.integers(0, 70)
limits = some.integers(-1, 70)


def sliced(items: list[Any], offset: int, limit: int, *, descending: bool) -> list[Any]:
    whole = items[::-1] if descending else items
    return whole[offset:] if limit < 0 else whole[offset : offset + limit]


class OrderedKeysMachine(RuleBasedStateMachine):
    """Ordered keys in chunks of eight at most, beside a sorted list."""

    def __init__(self) -> None:
        super().__init__()
        self.chunk = ordered_keys._CHUNK
        ordered_keys._CHUNK = 4  # so that a few dozen keys make many chunks
        self.keys: OrderedKeys[Key] = OrderedKeys()
        self.model: list[Key] = []

    def teardown(self) -> None:
        ordered_keys._CHUNK = self.chunk

    @rule(key=keys)
    def add(self, key: Key) -> None:
        if key not in self.model:
            self.keys.add(key)
            self.model = sorted([*self.model, key])

    @rule(start=some.integers(0, 60))
    def add_ascending(self, start: int) -> None:
        for number in range(start, start + 10):
            self.add((9.0, number))

    @rule(key=keys)
    def discard(self, key: Key) -> None:
        self.keys.discard(key)
        self.model = [known for known in self.model if known != key]

    @precondition(lambda self: self.model)
    @rule(place=some.integers(0, 1000))
    def discard_known(self, place: int) -> None:
        self.discard(self.model[place % len(self.model)])

    @rule(offset=offsets, limit=limits, descending=some.booleans())
    def read_a_page(self, offset: int, limit: int, *, descending: bool) -> None:
        page = list(self.keys.page(offset, limit, descending=descending))
        assert page == sliced(self.model, offset, limit, descending=descending)

    @precondition(lambda self: self.model)
    @rule(place=some.integers(0, 1000), descending=some.booleans())
    def read_one(self, place: int, *, descending: bool) -> None:
        place %= len(self.model)
        assert self.keys.at(place, descending=descending) == self.model[:: -1 if descending else 1][place]

    @rule(key=keys)
    def count_below(self, key: Key) -> None:
        assert self.keys.count_below(key) == sum(known < key for known in self.model)

    @invariant()
    def same_length_and_small_chunks(self) -> None:
        assert len(self.keys) == len(self.model)
        assert all(0 < len(chunk) <= 8 for chunk in self.keys._chunks)


TestOrderedKeys = OrderedKeysMachine.TestCase
TestOrderedKeys.settings = settings(max_examples=40, stateful_step_count=30)


@given(
    wanted=some.sets(keys),
    shares=some.lists(some.integers(0, 4), min_size=1),
    offset=offsets,
    limit=limits,
    descending=some.booleans(),
)
def test_a_merged_page_is_a_slice_of_all_keys(
    wanted: set[Key], shares: list[int], offset: int, limit: int, *, descending: bool
) -> None:
    groups: list[OrderedKeys[Key]] = [OrderedKeys() for _ in range(5)]
    for place, key in enumerate(sorted(wanted)):
        groups[shares[place % len(shares)]].add(key)
    page = list(merged_page(groups, offset, limit, descending=descending))
    assert page == sliced(sorted(wanted), offset, limit, descending=descending)


statuses: list[RolloutStatus] = ["queuing", "preparing", "running", "succeeded"]


@given(
    recorded=some.lists(some.tuples(some.sampled_from([0.0, 1.0, 2.0]), some.sampled_from(statuses)), max_size=30),
    moves=some.lists(some.tuples(some.integers(0, 29), some.sampled_from(statuses)), max_size=30),
    wanted=some.none() | some.lists(some.sampled_from(statuses), max_size=3),
    numbers=some.none() | some.lists(some.integers(0, 33), max_size=8),
    either=some.booleans(),
    page=some.tuples(some.integers(0, 10), some.integers(-1, 10), some.booleans()),
)
def test_a_page_of_rollouts_is_what_a_scan_would_find(
    recorded: list[tuple[float, RolloutStatus]],
    moves: list[tuple[int, RolloutStatus]],
    wanted: list[RolloutStatus] | None,
    numbers: list[int] | None,
    *,
    either: bool,
    page: tuple[int, int, bool],
) -> None:
    index = RolloutIndex()
    now: dict[str, RolloutStatus] = {}
    started: dict[str, float] = {}
    for number, (start, status) in enumerate(recorded):
        index.add(Rollout(rollout_id=f"ro-{number}", input=None, start_time=start, status=status))
        now[f"ro-{number}"], started[f"ro-{number}"] = status, start
    for number, status in moves:
        if f"ro-{number}" in now:
            index.move(f"ro-{number}", status)
            now[f"ro-{number}"] = status
    ids = None if numbers is None else [f"ro-{number}" for number in numbers]

    def is_wanted(rollout_id: str) -> bool:
        tests = [now[rollout_id] in wanted] if wanted is not None else []
        if ids is not None:
            tests.append(rollout_id in ids)
        return not tests or (any(tests) if either else all(tests))

    order = sorted(now, key=lambda rollout_id: (started[rollout_id], int(rollout_id[3:])))
    matching = [rollout_id for rollout_id in order if is_wanted(rollout_id)]
    offset, limit, descending = page
    found, total = index.page(wanted, ids, either=either, offset=offset, limit=limit, descending=descending)
    assert total == len(matching)
    assert found == sliced(matching, offset, limit, descending=descending)


class DeadlinesMachine(RuleBasedStateMachine):
    """Deadlines beside a dict of the earliest time said for each id."""

    def __init__(self) -> None:
        super().__init__()
        self.deadlines = Deadlines()
        self.model: dict[str, float] = {}

    @rule(key=some.sampled_from("abcdefgh"), when=some.integers(0, 50))
    def set(self, key: str, when: int) -> None:
        self.deadlines.set(key, when)
        self.model[key] = min(when, self.model.get(key, when))

    @rule(key=some.sampled_from("abcdefgh"))
    def discard(self, key: str) -> None:
        self.deadlines.discard(key)
        self.model.pop(key, None)

    @rule(key=some.sampled_from("abcdefgh"))
    def set_and_discard_often(self, key: str) -> None:
        for when in range(100, 0, -1):
            self.deadlines.set(key, when)
            self.deadlines.discard(key)
        self.model.pop(key, None)

    @rule(now=some.integers(0, 50))
    def pop(self, now: int) -> None:
        due = self.deadlines.pop(now)
        assert sorted(due) == sorted(key for key, when in self.model.items() if when <= now)
        assert [self.model[key] for key in due] == sorted(self.model[key] for key in due)
        for key in due:
            del self.model[key]

    @invariant()
    def the_next_is_the_earliest_and_the_heap_stays_small(self) -> None:
        assert self.deadlines.next() == min(self.model.values(), default=None)
        assert len(self.deadlines) == len(self.model)
        assert len(self.deadlines._heap) <= 2 * len(self.model) + 65


TestDeadlines = DeadlinesMachine.TestCase
TestDeadlines.settings = settings(max_examples=40, stateful_step_count=30)

people = some.lists(
    some.builds(
        Worker,
        worker_id=some.sampled_from(["ann", "bob", "anna"]),
        status=some.sampled_from(["idle", "busy"]),
        last_idle_time=some.none() | some.floats(0, 10),
        current_rollout_id=some.none() | some.sampled_from(["x", "y"]),
        heartbeat_stats=some.none() | some.dictionaries(some.just("a"), some.integers(), max_size=1),
    ),
    max_size=12,
)


@given(people, some.sampled_from(["and", "or"]), some.none() | some.just("ann"), some.none() | some.just("n"))
def test_conditions_hold_as_a_plain_loop_says(
    workers: list[Worker], logic: Literal["and", "or"], exact: str | None, part: str | None
) -> None:
    conditions = Conditions(logic).exact("worker_id", exact).contains("worker_id", part).within("status", ["busy"])

    def holds(worker: Worker) -> bool:
        tests = [worker.status == "busy"]
        if exact is not None:
            tests.append(worker.worker_id == exact)
        if part is not None:
            tests.append(part in worker.worker_id)
        return all(tests) if logic == "and" else any(tests)

    assert [conditions.hold(worker) for worker in workers] == [holds(worker) for worker in workers]
    assert bool(Conditions(logic)) is False
    assert all(Conditions(logic).hold(worker) for worker in workers)


@given(
    people,
    some.sampled_from(["worker_id", "last_idle_time", "current_rollout_id", "heartbeat_stats", "last_busy_time"]),
    some.sampled_from(["asc", "desc"]),
    offsets,
    limits,
)
def test_a_sorted_page_is_a_slice_of_the_sorted_whole(
    workers: list[Worker], field: str, order: Literal["asc", "desc"], offset: int, limit: int
) -> None:
    whole = sorted_and_paged(workers, Worker, sort_by=field, sort_order=order, limit=-1, offset=0)
    page = sorted_and_paged(workers, Worker, sort_by=field, sort_order=order, limit=limit, offset=offset)
    assert page.items == sliced(list(whole), offset, limit, descending=False)
    assert page.total == len(workers)
    values = [getattr(worker, field) for worker in whole]
    if order == "desc":
        values.reverse()
    present = [value for value in values if value is not None]
    if field != "heartbeat_stats":
        assert present == sorted(present)
    absent = [None] * (len(values) - len(present))
    assert values == (present + absent if field.endswith("_time") else absent + present)


class WaitingLineMachine(RuleBasedStateMachine):
    """A waiting line beside a list."""

    def __init__(self) -> None:
        super().__init__()
        self.line = WaitingLine()
        self.model: list[str] = []

    @rule(name=names, at_head=some.booleans())
    def join(self, name: str, *, at_head: bool) -> None:
        if name not in self.model:
            self.line.join(name, at_head=at_head)
            self.model.insert(0 if at_head else len(self.model), name)

    @precondition(lambda self: self.model)
    @rule(place=some.integers(0, 100))
    def leave(self, place: int) -> None:
        self.line.leave(self.model.pop(place % len(self.model)))

    @precondition(lambda self: self.model)
    @rule(count=some.integers(1, 3))
    def claim(self, count: int) -> None:
        for name in self.line.first(count):
            self.line.leave(name)
        del self.model[:count]

    @invariant()
    def everyone_knows_its_place(self) -> None:
        assert self.line.first(100) == self.model
        assert len(self.line) == len(self.model)
        assert [self.line.before(name) for name in self.model] == list(range(len(self.model)))
        assert self.line.before("nobody") is None
        assert "nobody" not in self.line

    @invariant()
    def gaps_are_no_more_than_those_who_wait(self) -> None:
        assert len(self.line._gaps) <= max(len(self.model), 16)


TestWaitingLine = WaitingLineMachine.TestCase
