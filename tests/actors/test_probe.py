"""The actor that stands in for others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from lightning_actors.actors import ActorRef, Message, Supervisor, hosted
from lightning_actors.actors.testkit import Probe, settle
from lightning_actors.errors import ActorStopped

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Price(Message[int]):
    of: str


@dataclass(frozen=True)
class Reduced(Price):
    pass


@dataclass(frozen=True)
class Paid(Message[None]):
    amount: int


async def test_a_probe_keeps_what_it_gets_and_hands_it_out_by_type():
    probe = Probe()
    async with hosted(lambda: probe) as ref:
        for amount in (1, 2):
            await ref.tell(Paid(amount))
        await ref.tell(Price("tea"))
        assert await probe.receive(Price) == Price("tea")
        assert [await probe.receive(Paid), await probe.receive(Paid)] == [Paid(1), Paid(2)]
    assert probe.received == [Paid(1), Paid(2), Price("tea")]


async def test_a_test_can_wait_for_a_message_that_has_not_come():
    probe, seen = Probe(), list[Message[Any]]()

    async def wait(kind: type[Message[Any]]) -> None:
        seen.append(await probe.receive(kind))

    async with hosted(lambda: probe) as ref, anyio.create_task_group() as group:
        group.start_soon(wait, Paid)
        group.start_soon(wait, Price)
        await settle()
        assert seen == []
        await ref.tell(Reduced("tea"))
        await settle()
        assert seen == [Reduced("tea")]
        await ref.tell(Paid(1))
    assert seen == [Reduced("tea"), Paid(1)]


async def test_a_probe_answers_as_it_was_told():
    probe = Probe()

    async def half(price: Price) -> int:
        await settle()
        return len(price.of) // 2

    async with hosted(lambda: probe) as ref:
        probe.answers(Price, lambda price: len(price.of))
        assert await ref.ask(Price("coffee")) == 6
        assert await ref.ask(Reduced("coffee")) == 6
        probe.answers(Reduced, half)
        assert (await ref.ask(Price("coffee")), await ref.ask(Reduced("coffee"))) == (6, 3)
        probe.answers(Price, lambda _: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            await ref.ask(Price("tea"))


async def ask(ref: ActorRef[Probe], answers: list[Any]) -> None:
    try:
        answers.append(await ref.ask(Price("tea")))
    except Exception as error:  # noqa: BLE001 - the outcome
        answers.append(type(error))


async def test_a_test_replies_when_it_likes():
    probe, answers = Probe(), list[Any]()
    async with anyio.create_task_group() as group, hosted(lambda: probe) as ref:
        for _ in range(3):
            group.start_soon(ask, ref, answers)
        first, second = await probe.receive(Price), await probe.receive(Price)
        assert first == second
        probe.reply_to(second).set(2)
        await settle()
        probe.reply_to(first).fail(KeyError("tea"))
        await settle()
        assert answers == [2, KeyError]
    assert answers == [2, KeyError, ActorStopped]


async def test_nothing_is_owed_to_what_was_answered():
    probe = Probe()
    probe.answers(Price, lambda _: 1)
    async with hosted(lambda: probe) as ref:
        await ref.ask(Price("tea"))
        with pytest.raises(ValueError, match=r"nothing is owed to Price\(of='tea'\)"):
            probe.reply_to(await probe.receive(Price))


async def test_a_probe_stays_itself_over_restarts():
    probe = Probe()
    probe.answers(Paid, lambda _: 1 // 0)
    async with Supervisor() as supervisor:
        ref = await supervisor.start(lambda: probe)
        await ref.tell(Paid(1))
        await ref.tell(Price("tea"))
        await probe.receive(Price)
        assert len(ref.inspect().restarts) == 1
    assert probe.received == [Paid(1), Price("tea")]
