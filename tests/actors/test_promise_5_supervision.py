# ruff: noqa: PT012  # what is raised here is raised by leaving a block of several lines
"""Promise 5: supervision is data; start left to right, stop right to left, graceful first, bounded in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from lightning_actors.actors import (
    Actor,
    ActorRef,
    Backoff,
    ChildSpec,
    DeadLetter,
    FindChild,
    Message,
    Reply,
    Supervisor,
    SupervisorActor,
    defers,
    handles,
)
from lightning_actors.actors.testkit import VirtualClock, settle
from lightning_actors.errors import ActorCrashed, ActorError, ActorStopped, RestartLimitExceeded

pytestmark = pytest.mark.anyio

AT_ONCE = Backoff(first=0.0)
AFTER_A_SECOND = Backoff(first=1.0, factor=2.0, jitter=0.0)


@dataclass(frozen=True)
class Fail(Message[None]):
    error: BaseException


@dataclass(frozen=True)
class End(Message[str]):
    pass


@dataclass(frozen=True)
class Count(Message[int]):
    pass


@dataclass(frozen=True)
class Hold(Message[str]):
    gate: anyio.Event


@dataclass(frozen=True)
class Keep(Message[str]):
    pass


class Story:
    """What happened, in order, over all incarnations; and what goes wrong next."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.fails: dict[str, list[BaseException]] = {}

    def check(self, what: str) -> None:
        if self.fails.get(what):
            raise self.fails[what].pop(0)

    def child(self, name: str, **options: Any) -> ChildSpec[Child]:
        options = {"backoff": AT_ONCE, **options}
        return ChildSpec(name, lambda: Child(self, name), **options)


class Child(Actor):
    def __init__(self, story: Story, label: str) -> None:
        self.story, self.label, self.count = story, label, 0
        story.check(f"make {label}")

    async def started(self) -> None:
        self.story.events.append(f"+{self.label}")
        self.story.check(f"start {self.label}")

    async def stopping(self) -> None:
        self.story.check(f"stopping {self.label}")

    async def stopped(self) -> None:
        self.story.events.append(f"-{self.label}")
        self.story.check(f"stopped {self.label}")

    @handles(Fail)
    def fail(self, message: Fail) -> None:
        raise message.error

    @handles(End)
    def end(self, message: End) -> str:
        self.stop_soon()
        return "bye"

    @handles(Count)
    def get_count(self, message: Count) -> int:
        self.count += 1
        return self.count

    @handles(Hold)
    async def hold(self, message: Hold) -> str:
        await message.gate.wait()
        return "held"

    @defers(Keep)
    def keep(self, message: Keep, reply: Reply[str]) -> None:
        self.reply = reply


async def collect(ref: ActorRef[Child], message: Message[Any], into: list[object]) -> None:
    try:
        into.append(await ref.ask(message))
    except ActorError as error:
        into.append(error)


def quiet(letter: DeadLetter) -> None:
    pass


async def test_promise_5_children_start_left_to_right_and_stop_right_to_left():
    story = Story()
    async with Supervisor([story.child("a"), story.child("b")]) as supervisor:
        await supervisor.start(story.child("c"))
        assert story.events == ["+a", "+b", "+c"]
    assert story.events == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_promise_5_neighbours_of_one_group_stop_together():
    story, clock = Story(), VirtualClock()
    specs = [story.child("a"), *(story.child(f"r{i}", group="r", grace=5.0) for i in range(3))]
    async with Supervisor(specs, clock=clock, dead_letters=quiet) as supervisor, anyio.create_task_group() as group:
        refs = [supervisor.ref(f"r{i}") for i in range(3)]
        for ref in refs:
            group.start_soon(collect, ref, Hold(anyio.Event()), list[object]())
        await settle()
        group.start_soon(supervisor.stop)
        await settle()
        clock.advance(5.0)
        await supervisor.wait()
    assert sorted(story.events[4:7]) == ["-r0", "-r1", "-r2"]
    assert story.events[7:] == ["-a"]


@pytest.mark.parametrize(
    ("restart", "after_crash", "after_end"),
    [("permanent", "running", "running"), ("transient", "running", "stopped"), ("temporary", "stopped", "stopped")],
)
async def test_promise_5_the_restart_policy_decides(restart: Any, after_crash: str, after_end: str):
    story = Story()
    async with Supervisor([story.child("a", restart=restart)], dead_letters=quiet) as supervisor:
        crashing = supervisor.ref("a")
        await crashing.tell(Fail(ValueError("boom")))
        await settle()
        assert crashing.inspect().state == after_crash
        ending = await supervisor.start(story.child("b", restart=restart))
        assert await ending.ask(End()) == "bye"
        await settle()
        assert ending.inspect().state == after_end


async def test_promise_5_a_child_that_is_not_restarted_answers_what_was_queued():
    story, gate = Story(), anyio.Event()
    outcomes: list[object] = []
    boom = ValueError("boom")
    async with Supervisor(dead_letters=quiet) as supervisor, anyio.create_task_group() as group:
        child = await supervisor.start(story.child("a", restart="temporary"))
        group.start_soon(collect, child, Hold(gate), list[object]())
        await settle()
        await child.tell(Fail(boom))
        group.start_soon(collect, child, Count(), outcomes)
        await settle()
        gate.set()
    (error,) = outcomes
    assert isinstance(error, ActorStopped)
    assert error.__cause__ is boom


async def test_promise_5_a_significant_child_that_ends_ends_the_tree():
    story = Story()
    specs = [story.child("a"), story.child("main", restart="temporary", significant=True), story.child("b")]
    async with Supervisor(specs) as supervisor:
        await supervisor.ref("main").ask(End())
        await supervisor.wait()
        assert supervisor.tree() == ()
        with pytest.raises(ActorStopped):
            await supervisor.start(story.child("late"))
    assert story.events == ["+a", "+main", "+b", "-main", "-b", "-a"]


async def test_promise_5_a_significant_child_that_crashes_ends_the_tree_with_its_cause():
    story, boom = Story(), ValueError("boom")
    with pytest.raises(ValueError, match="boom") as caught:
        async with Supervisor(
            [story.child("a"), story.child("main", restart="temporary", significant=True)], dead_letters=quiet
        ) as supervisor:
            await supervisor.ref("main").tell(Fail(boom))
            await anyio.sleep_forever()
    assert caught.value is boom
    assert story.events == ["+a", "+main", "-main", "-a"]


async def test_promise_5_a_significant_child_that_is_stopped_on_purpose_does_not_end_the_tree():
    story = Story()
    async with Supervisor([story.child("main", restart="temporary", significant=True)]) as supervisor:
        await supervisor.stop_child("main")
        assert await (await supervisor.start(story.child("b"))).ask(Count()) == 1


async def test_promise_5_a_child_that_was_stopped_is_not_restarted_and_its_name_is_free():
    story = Story()
    async with Supervisor([story.child("a")]) as supervisor:
        await supervisor.ref("a").stop()
        with pytest.raises(ValueError, match="no child 'a': its children are none"):
            supervisor.ref("a")
        again = await supervisor.start(story.child("a"))
        with pytest.raises(ValueError, match="has a child 'a' already"):
            await supervisor.start(story.child("a"))
        assert supervisor.ref("a") is again


async def test_promise_5_too_many_restarts_are_one_plain_failure_with_the_last_cause():
    story = Story()
    with pytest.raises(RestartLimitExceeded, match="'b' of 'tree' ended more than 2 times in 5 s") as caught:
        async with Supervisor(
            [story.child("a"), story.child("b", intensity=2)], name="tree", dead_letters=quiet
        ) as supervisor:
            for number in range(3):
                await supervisor.ref("b").tell(Fail(ValueError(number)))
            await anyio.sleep_forever()
    assert caught.value.actor == "b"
    assert repr(caught.value.__cause__) == "ValueError(2)"
    assert story.events == ["+a", *["+b", "-b"] * 3, "-a"]


async def test_promise_5_intensity_is_counted_per_child_and_forgotten_after_the_period():
    story, clock = Story(), VirtualClock()
    specs = [story.child("a", intensity=1, period=10.0), story.child("b", intensity=1, period=10.0)]
    async with Supervisor(specs, clock=clock, dead_letters=quiet) as supervisor:
        for name in "ab":
            await supervisor.ref(name).tell(Fail(ValueError("boom")))
            await settle()
        clock.advance(10.5)
        await supervisor.ref("a").tell(Fail(ValueError("boom")))
        await settle()
        assert len(supervisor.ref("a").inspect().restarts) == 2
        assert supervisor.ref("a").inspect().state == "running"


async def test_promise_5_the_pause_before_a_restart_grows():
    story, clock = Story(), VirtualClock()
    async with Supervisor(
        [story.child("a", backoff=AFTER_A_SECOND, period=60.0)], clock=clock, dead_letters=quiet
    ) as supervisor:
        child = supervisor.ref("a")
        for pause in (1.0, 2.0, 4.0):
            await child.tell(Fail(ValueError("boom")))
            await settle()
            clock.advance(pause - 0.1)
            await settle()
            assert child.inspect().state == "waiting"
            clock.advance(0.1)
            await settle()
            assert child.inspect().state == "running"


def test_promise_5_backoff_is_exponential_with_jitter_and_a_maximum():
    backoff = Backoff(first=1.0, factor=3.0, maximum=20.0, jitter=0.5)
    for restart, least in ((1, 1.0), (2, 3.0), (3, 9.0), (4, 20.0), (9, 20.0)):
        delays = [backoff.delay(restart) for _ in range(50)]
        assert least <= min(delays) < max(delays) <= least * 1.5
    assert Backoff(first=1.0, jitter=0.0).delay(1) == 1.0
    assert Backoff(first=1.0, maximum=20.0, jitter=0.0).delay(100_000) == 20.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Backoff(first=-1),
        lambda: Backoff(factor=0.5),
        lambda: ChildSpec("a", Actor, mailbox_size=0),
        lambda: ChildSpec("a", Actor, grace=-1),
        lambda: ChildSpec("a", Actor, restart="sometimes"),  # pyright: ignore[reportArgumentType]  # an unchecked caller
        lambda: ChildSpec("a", Actor, overflow="spill"),  # pyright: ignore[reportArgumentType]  # an unchecked caller
        lambda: Supervisor(strategy="one"),  # pyright: ignore[reportArgumentType]  # an unchecked caller
    ],
)
def test_promise_5_a_spec_that_makes_no_sense_is_refused(make: Callable[[], object]):
    with pytest.raises(ValueError, match=r"must|makes no sense|use "):
        make()


async def test_promise_5_a_stop_during_the_pause_ends_at_once_and_answers_what_was_queued():
    story, clock = Story(), VirtualClock()
    outcomes: list[object] = []
    async with (
        Supervisor([story.child("a", backoff=AFTER_A_SECOND)], clock=clock, dead_letters=quiet) as supervisor,
        anyio.create_task_group() as group,
    ):
        child = supervisor.ref("a")
        await child.tell(Fail(ValueError("boom")))
        await settle()
        group.start_soon(collect, child, Count(), outcomes)
        await settle()
        assert child.inspect().mailbox_depth == 1
        await child.stop()
    assert isinstance(outcomes[0], ActorStopped)
    assert story.events == ["+a", "-a"]


async def test_promise_5_an_outer_cancellation_during_the_pause_ends_at_once():
    story = Story()
    with anyio.CancelScope() as scope:
        async with Supervisor(
            [story.child("a", backoff=AFTER_A_SECOND)], clock=VirtualClock(), dead_letters=quiet
        ) as supervisor:
            await supervisor.ref("a").tell(Fail(ValueError("boom")))
            await settle()
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert story.events == ["+a", "-a"]


@pytest.mark.parametrize("what", ["make b", "start b"])
async def test_promise_5_a_first_start_that_fails_is_raised_as_it_is_and_stops_what_was_started(what: str):
    story, boom = Story(), ValueError("boom")
    story.fails[what] = [boom]
    with pytest.raises(ValueError, match="boom") as caught:
        async with Supervisor([story.child(name) for name in "abc"]):
            raise AssertionError
    assert caught.value is boom
    assert story.events == (["+a", "-a"] if what == "make b" else ["+a", "+b", "-b", "-a"])


async def test_promise_5_a_first_start_that_fails_leaves_the_running_supervisor_as_it_was():
    story = Story()
    story.fails["start b"] = [ValueError("boom")]
    async with Supervisor([story.child("a")]) as supervisor:
        with pytest.raises(ValueError, match="boom"):
            await supervisor.start(story.child("b"))
        assert [info.name for info in supervisor.tree()] == ["a"]
        assert await (await supervisor.start(story.child("b"))).ask(Count()) == 1


async def test_promise_5_a_start_that_is_cancelled_leaves_no_child_behind():
    class Slow(Child):
        async def started(self) -> None:
            await anyio.sleep_forever()

    story = Story()
    async with Supervisor() as supervisor:
        with anyio.move_on_after(0.01):
            await supervisor.start(ChildSpec("slow", lambda: Slow(story, "slow")))
        assert supervisor.tree() == ()
    assert story.events == ["-slow"]


@pytest.mark.parametrize("what", ["make a", "start a"])
async def test_promise_5_a_restart_that_fails_is_tried_again_and_counted(what: str):
    story = Story()
    async with Supervisor([story.child("a", intensity=3)], dead_letters=quiet) as supervisor:
        child = supervisor.ref("a")
        story.fails[what] = [ValueError("one"), ValueError("two")]
        await child.tell(Fail(ValueError("boom")))
        assert await child.ask(Count()) == 1
        assert [str(restart.cause) for restart in child.inspect().restarts] == ["boom", "one", "two"]
        story.fails[what] = [ValueError("three")]
        with pytest.raises(RestartLimitExceeded):
            async with Supervisor([story.child("b", intensity=0)], dead_letters=quiet) as inner:
                await inner.ref("b").tell(Fail(ValueError("boom")))
                await anyio.sleep_forever()


@pytest.mark.parametrize("what", ["stopping a", "stopped a"])
async def test_promise_5_an_error_in_a_last_hook_hinders_neither_the_stop_nor_a_restart(what: str):
    story = Story()
    story.fails[what] = [ValueError("one"), ValueError("two")]
    async with Supervisor([story.child("a"), story.child("b")], dead_letters=quiet) as supervisor:
        child = supervisor.ref("a")
        await child.tell(Fail(ValueError("boom")))
        assert await child.ask(Count()) == 1
    assert story.events[-2:] == ["-b", "-a"]


async def test_promise_5_a_stopped_hook_that_hangs_is_bounded():
    clock = VirtualClock()

    class Hanging(Actor):
        async def stopped(self) -> None:
            await anyio.sleep_forever()

    async with Supervisor([ChildSpec("a", Hanging)], clock=clock) as supervisor, anyio.create_task_group() as group:
        group.start_soon(supervisor.stop)
        await settle()
        clock.advance(5.0)


async def test_promise_5_one_for_all_restarts_every_child_and_keeps_what_was_queued():
    story, gate, boom = Story(), anyio.Event(), ValueError("boom")
    kept: list[object] = []
    queued: list[object] = []
    async with (
        Supervisor([story.child(name) for name in "abc"], strategy="one_for_all", dead_letters=quiet) as supervisor,
        anyio.create_task_group() as group,
    ):
        a, b, c = (supervisor.ref(name) for name in "abc")
        assert await a.ask(Count()) == 1
        group.start_soon(collect, c, Keep(), kept)
        await settle()
        group.start_soon(collect, c, Hold(gate), list[object]())
        await settle()
        group.start_soon(collect, c, Count(), queued)
        await settle()
        await b.tell(Fail(boom))
        await settle()
        assert story.events[3:] == ["-b"]
        gate.set()
        await settle()
        assert await a.ask(Count()) == 1
        await settle()
        assert queued == [1]
        (error,) = kept
        assert isinstance(error, ActorCrashed)
        assert error.__cause__ is boom
        assert story.events[3:] == ["-b", "-c", "-a", "+a", "+b", "+c"]
        assert [len(ref.inspect().restarts) for ref in (a, b, c)] == [0, 1, 0]


async def test_promise_5_one_for_all_starts_again_when_a_child_crashes_during_the_start():
    story = Story()
    async with Supervisor(
        [story.child(name) for name in "abc"], strategy="one_for_all", dead_letters=quiet
    ) as supervisor:
        story.fails["start b"] = [ValueError("one")]
        story.fails["make c"] = [ValueError("two")]
        await supervisor.ref("a").tell(Fail(ValueError("boom")))
        for name in "abc":
            assert await supervisor.ref(name).ask(Count()) == 1
        assert story.events[3:] == [
            *("-a", "-c", "-b"),
            *("+a", "+b", "-b", "-a"),
            *("+a", "+b", "-b", "-a"),
            *("+a", "+b", "+c"),
        ]


async def test_promise_5_one_for_all_fails_when_one_child_crashes_too_often():
    story = Story()
    with pytest.raises(RestartLimitExceeded) as caught:
        async with Supervisor(
            [story.child("a"), story.child("b", intensity=2)], strategy="one_for_all", dead_letters=quiet
        ) as supervisor:
            story.fails["start b"] = [ValueError(number) for number in range(5)]
            await supervisor.ref("a").tell(Fail(ValueError("boom")))
            await anyio.sleep_forever()
    assert caught.value.actor == "b"
    assert story.events[-1] in {"-a", "-b"}


async def test_promise_5_a_stop_in_the_middle_of_one_for_all_ends_it():
    story, clock = Story(), VirtualClock()
    async with Supervisor(
        [story.child(name, backoff=AFTER_A_SECOND) for name in "abc"],
        strategy="one_for_all",
        clock=clock,
        dead_letters=quiet,
    ) as supervisor:
        await supervisor.ref("b").tell(Fail(ValueError("boom")))
        await settle()
        assert {info.state for info in supervisor.tree()} == {"waiting"}
    assert story.events[3:] == ["-b", "-c", "-a"]


async def test_promise_5_one_for_all_cancels_a_sibling_that_does_not_halt_within_its_grace_time():
    story, clock = Story(), VirtualClock()
    outcomes: list[object] = []
    async with (
        Supervisor(
            [story.child("a"), story.child("b", grace=3.0)],
            strategy="one_for_all",
            clock=clock,
            dead_letters=quiet,
        ) as supervisor,
        anyio.create_task_group() as group,
    ):
        group.start_soon(collect, supervisor.ref("b"), Hold(anyio.Event()), outcomes)
        await settle()
        await supervisor.ref("a").tell(Fail(ValueError("boom")))
        await settle()
        clock.advance(3.0)
        await settle()
        assert isinstance(outcomes[0], ActorCrashed)
        assert await supervisor.ref("b").ask(Count()) == 1


async def test_promise_5_a_failure_escalates_from_a_supervisor_to_its_parent():
    story = Story()

    def pool() -> SupervisorActor:
        return SupervisorActor([story.child("x"), story.child("y", intensity=0)])

    async with Supervisor(
        [story.child("a"), ChildSpec("pool", pool, backoff=AT_ONCE)], dead_letters=quiet
    ) as supervisor:
        tree = supervisor.ref("pool")
        y = await tree.ask(FindChild("y"))
        assert [info.name for info in supervisor.tree()[1].children] == ["x", "y"]
        await y.tell(Fail(ValueError("boom")))
        await settle()
        again = await tree.ask(FindChild("y"))
        assert await again.ask(Count()) == 1
        (restart,) = tree.inspect().restarts
        assert isinstance(restart.cause, RestartLimitExceeded)
        assert supervisor.dead_letter_count == 1
        with pytest.raises(ValueError, match="no child 'z'"):
            await tree.ask(FindChild("z"))
    assert story.events == ["+a", "+x", "+y", "-y", "-x", "+x", "+y", "-y", "-x", "-a"]


async def test_promise_5_a_failure_that_no_supervisor_mends_leaves_as_one_plain_exception():
    story = Story()
    with pytest.raises(RestartLimitExceeded) as caught:
        async with Supervisor(
            [
                ChildSpec(
                    "pool",
                    lambda: SupervisorActor([story.child("y", intensity=0)]),
                    restart="temporary",
                    significant=True,
                )
            ],
            dead_letters=quiet,
        ) as supervisor:
            y = await supervisor.ref("pool").ask(FindChild("y"))
            await y.tell(Fail(ValueError("boom")))
            await anyio.sleep_forever()
    assert caught.value.actor == "y"


async def test_promise_5_a_nested_supervisor_whose_start_fails_raises_as_it_is():
    story = Story()
    story.fails["start y"] = [ValueError("boom")]
    with pytest.raises(ValueError, match="boom"):
        async with Supervisor([ChildSpec("pool", lambda: SupervisorActor([story.child("x"), story.child("y")]))]):
            raise AssertionError
    assert story.events == ["+x", "+y", "-y", "-x"]


async def test_promise_5_a_nested_tree_that_ends_normally_ends_its_supervisor_normally():
    story = Story()
    async with Supervisor(
        [
            ChildSpec(
                "pool",
                lambda: SupervisorActor([story.child("x", restart="temporary", significant=True)]),
                restart="transient",
                significant=True,
            )
        ]
    ) as supervisor:
        x = await supervisor.ref("pool").ask(FindChild("x"))
        await x.ask(End())
        await supervisor.wait()
    assert story.events == ["+x", "-x"]


async def test_promise_5_a_nested_tree_is_cancelled_in_order_when_the_scope_around_it_is():
    story = Story()
    with anyio.CancelScope() as scope:
        async with Supervisor(
            [story.child("a"), ChildSpec("pool", lambda: SupervisorActor([story.child("x"), story.child("y")]))]
        ):
            scope.cancel()
            await anyio.sleep_forever()
    assert story.events == ["+a", "+x", "+y", "-y", "-x", "-a"]


async def test_promise_5_options_of_start_are_the_fields_of_a_spec():
    story = Story()
    async with Supervisor() as supervisor:
        one = await supervisor.start(lambda: Child(story, "x"), name="one", restart="temporary", mailbox_size=7)
        two = await supervisor.start(lambda: Child(story, "x"))
        three = await supervisor.start(lambda: Child(story, "x"))
        assert [ref.name for ref in (one, two, three)] == ["one", "actor", "actor-2"]
        assert one.inspect().mailbox_size == 7


async def test_promise_5_a_factory_that_makes_no_actor_is_an_error():
    async with Supervisor() as supervisor:
        unchecked: Any = ChildSpec
        with pytest.raises(TypeError, match="made 'x', which is no Actor"):
            await supervisor.start(unchecked("x", lambda: "x"))


async def test_promise_5_thousands_of_actors_start_answer_and_stop():
    class Tiny(Actor):
        @handles(Count)
        def count(self, message: Count) -> int:
            return 1

    async with Supervisor() as supervisor:
        refs = [await supervisor.start(ChildSpec(f"tiny-{i}", Tiny, group="tiny")) for i in range(2_000)]
        assert sum([await ref.ask(Count()) for ref in refs[::100]]) == 20
    assert {ref.inspect().state for ref in refs} == {"stopped"}
