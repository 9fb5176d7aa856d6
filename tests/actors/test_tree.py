"""The tree of actors in words, to the letter."""

from __future__ import annotations

from typing import Any

from lightning_actors.actors import ActorInfo, ActorTree, Held, Restart


def info(name: str, **fields: Any) -> ActorInfo:
    known: dict[str, Any] = {
        "name": name,
        "state": "running",
        "handling": None,
        "handling_seconds": 0.0,
        "mailbox_depth": 0,
        "mailbox_size": 64,
        "concurrent": 0,
        "oldest_concurrent_seconds": 0.0,
        "kept_replies": 0,
        "processed": 0,
        "restarts": (),
    }
    return ActorInfo(**{**known, **fields})


def drawn(*infos: ActorInfo) -> list[str]:
    return str(ActorTree(infos)).splitlines()


def busy(number: int, seconds: float) -> ActorInfo:
    return info(f"runner-{number}", holds=(Held(f"ro-{number}", "agent", seconds),))


def test_each_actor_has_a_line_that_says_what_it_does() -> None:
    restarts = (Restart(1.0, None), Restart(2.0, ValueError("no\nroom")))
    assert drawn(
        info("store", handling="Enqueue", handling_seconds=0.21, mailbox_depth=3),
        info("queue", kept_replies=2),
        info("runner-0", holds=tuple(Held(f"ro-{number}", "agent", 12.1) for number in range(5))),
        info("runner-1", state="waiting", restarts=restarts),
        info("runner-2", concurrent=2, oldest_concurrent_seconds=3_600, restarts=restarts[:1]),
        info("algorithm", state="stopping", handling="stopping", handling_seconds=1, kept_replies=1),
    ) == [
        "store      handling Enqueue for 0.2 s, 3 of 64 in the mailbox",
        "queue      idle, 2 replies owed",
        "runner-0   ro-0: agent for 12.1 s, ro-1: agent for 12.1 s, ro-2: agent for 12.1 s, and 2 more in hand",
        "runner-1   waiting to be restarted, 2 restarts, the last after ValueError: no room",
        "runner-2   2 in parallel, the oldest for 3,600.0 s, 1 restart, the last after it had ended",
        "algorithm  stopping, handling stopping for 1.0 s, 1 reply owed",
    ]


def test_actors_that_are_alike_are_counted_and_the_longest_busy_are_shown() -> None:
    idle = [info(f"runner-{number}") for number in range(10_000)]
    idle[17], idle[4] = busy(17, 12.1), busy(4, 0.3)
    idle[5] = info("runner-5", restarts=(Restart(1.0, ValueError("boom")),))
    assert drawn(info("store"), *idle, info("algorithm")) == [
        "store                   idle",
        "runner-0 … runner-9999  9,998 idle, 2 busy; 1 restart, the last after ValueError: boom",
        "├─ runner-17            ro-17: agent for 12.1 s",
        "└─ runner-4             ro-4: agent for 0.3 s",
        "algorithm               idle",
    ]


def test_of_many_that_are_busy_a_few_are_shown() -> None:
    lines = drawn(*[busy(number, number) for number in range(1_000)])
    assert lines[0] == "runner-0 … runner-999  1,000 busy"
    assert [line.split()[1] for line in lines[1:9]] == [f"runner-{number}" for number in range(999, 991, -1)]
    assert lines[9:] == ["└─ … 992 more          none of them for longer"]


def test_a_few_siblings_are_listed_one_by_one() -> None:
    assert len(drawn(*[info(f"runner-{number}") for number in range(8)])) == 8
    assert len(drawn(*[info(f"runner-{number}") for number in range(9)])) == 1


def test_children_stand_below_their_supervisor() -> None:
    inner = info("inner", children=(info("a"), info("b")))
    pool = info("pool", children=(info("first"), inner, info("last", children=(info("c"),))))
    assert drawn(pool) == [
        "pool      idle",
        "├─ first  idle",
        "├─ inner  idle",
        "│  ├─ a   idle",
        "│  └─ b   idle",
        "└─ last   idle",
        "   └─ c   idle",
    ]


def test_an_empty_tree_is_an_empty_tuple_and_text() -> None:
    assert ActorTree() == ()
    assert str(ActorTree()) == ""
