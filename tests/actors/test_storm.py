"""A storm of asks, requests, cancellations, crashes and stops, after which every account must balance.

Each reply is a numbered coin. Whatever happens, a coin that was given is in exactly one place at the end: with an
asker, back at the bank (``undelivered``), or in a dead letter; and nobody is left waiting.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from lightning_actors.actors import (
    Actor,
    ActorRef,
    Backoff,
    Batch,
    ChildSpec,
    DeadLetter,
    Message,
    Outcome,
    PendingRequest,
    Reply,
    Supervisor,
    defers,
    handles,
)
from lightning_actors.actors.testkit import settle
from lightning_actors.errors import ActorError

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Now(Message[int]):
    pass


@dataclass(frozen=True)
class Slow(Message[int]):
    rounds: int


@dataclass(frozen=True)
class Beside(Message[int]):
    rounds: int


@dataclass(frozen=True)
class Later(Message[int]):
    pass


@dataclass(frozen=True)
class Pay(Message[None]):
    pass


@dataclass(frozen=True)
class Crash(Message[None]):
    beside: bool


@dataclass(frozen=True)
class CrashBeside(Message[None]):
    rounds: int


@dataclass(frozen=True)
class Order(Message[None]):
    what: Message[int]


class Trouble(Exception):
    pass


class Ledger:
    """Outlives the actors."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  # a reproducible storm
        self.numbers = count()
        self.given: set[int] = set()
        self.ends: Counter[int] = Counter()
        self.owed: list[Reply[int]] = []
        self.open = 0

    def coin(self) -> int:
        number = next(self.numbers)
        self.given.add(number)
        return number

    def bury(self, letter: DeadLetter) -> None:
        if letter.value is not None:
            self.ends[letter.value] += 1


class Bank(Actor):
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.fresh = ledger.given

    def coin(self) -> int:
        number = next(self.ledger.numbers)
        self.fresh.add(number)
        return number

    async def started(self) -> None:
        if self.ledger.random.random() < 0.2:
            raise Trouble

    async def stopping(self) -> None:
        await checkpoint()

    async def stopped(self) -> None:
        await checkpoint()

    @handles(Now)
    def now(self, message: Now) -> int:
        return self.coin()

    @handles(Slow)
    async def slow(self, message: Slow) -> int:
        for _ in range(message.rounds):
            await checkpoint()
        return self.coin()

    @handles(Beside, concurrent=True)
    async def beside(self, message: Beside) -> int:
        for _ in range(message.rounds):
            await checkpoint()
        return self.ledger.coin()

    @defers(Later)
    def later(self, message: Later, reply: Reply[int]) -> None:
        self.ledger.owed.append(reply)

    @handles(Pay)
    def pay(self, message: Pay) -> None:
        while self.ledger.owed:
            reply = self.ledger.owed.pop(self.ledger.random.randrange(len(self.ledger.owed)))
            reply.set(self.coin())

    @handles(Crash)
    async def crash_now(self, message: Crash) -> None:
        if message.beside:
            self.start_soon(self.trouble)
        else:
            await checkpoint()
            raise Trouble

    @handles(CrashBeside, concurrent=True)
    async def crash_beside(self, message: CrashBeside) -> None:
        for _ in range(message.rounds):
            await checkpoint()
        raise Trouble

    async def trouble(self) -> None:
        raise Trouble

    def undelivered(self, message: Message[Any], value: Any) -> None:
        if value is not None:
            self.ledger.ends[value] += 1

    def withdrawn(self, message: Message[Any], reply: Reply[Any]) -> None:
        if reply in self.ledger.owed:
            self.ledger.owed.remove(reply)


class BatchingBank(Bank):
    """Its coins count when their batch is done."""

    max_batch = 5

    async def receive_many(self, batch: Batch) -> None:
        fresh = self.fresh = set[int]()
        await batch.handle_all()
        self.ledger.given |= fresh


class Client(Actor):
    """Gets its coins by requests."""

    def __init__(self, ledger: Ledger, bank: ActorRef[Bank]) -> None:
        self.ledger, self.bank = ledger, bank
        self.pending: list[PendingRequest[int]] = []

    @handles(Order)
    def order(self, message: Order) -> None:
        if self.pending and self.ledger.random.random() < 0.3:
            self.pending.pop().cancel()
        self.pending.append(self.request(self.bank, message.what, self.take))

    @handles(Crash)
    def crash_now(self, message: Crash) -> None:
        raise Trouble

    def take(self, outcome: Outcome[int]) -> None:
        if outcome.error is None:
            self.ledger.ends[outcome.value] += 1


class Storm:
    def __init__(self, seed: int) -> None:
        self.ledger = Ledger(seed)
        self.random = self.ledger.random
        self.scopes: list[anyio.CancelScope] = []

    def spec(self, name: str, make: Any) -> ChildSpec[Any]:
        size = self.random.choice([1, 3, 64])
        overflow: Any = self.random.choice(["wait", "wait", "reject"])
        return ChildSpec(
            name, make, mailbox_size=size, overflow=overflow, intensity=1000, grace=0.02, backoff=Backoff(first=0.0)
        )

    def message(self) -> Message[int]:
        rounds = self.random.randrange(4)
        return self.random.choice([Now(), Slow(rounds), Beside(rounds), Later(), Later()])

    async def ask(self, ref: ActorRef[Any]) -> None:
        self.ledger.open += 1
        try:
            with anyio.CancelScope() as scope:
                self.scopes.append(scope)
                self.ledger.ends[await ref.ask(self.message())] += 1
        except ActorError:
            pass
        finally:
            self.ledger.open -= 1

    async def tell(self, ref: ActorRef[Any], message: Message[Any]) -> None:
        with suppress(ActorError):
            await ref.tell(message)

    async def start(self, supervisor: Supervisor, make: Any, name: str) -> ActorRef[Any]:
        while True:
            try:
                return await supervisor.start(self.spec(name, make))
            except Trouble:
                pass

    async def rage(self, strategy: Any) -> None:
        async with (
            anyio.create_task_group() as group,
            Supervisor(strategy=strategy, dead_letters=self.ledger.bury) as supervisor,
        ):
            bank_type = self.random.choice([Bank, BatchingBank])
            bank = await self.start(supervisor, lambda: bank_type(self.ledger), "bank")
            client = await self.start(supervisor, lambda: Client(self.ledger, bank), "client")
            for _ in range(120):
                self.stir(group, bank, client)
                if self.random.random() < 0.2:
                    await checkpoint()
                if self.random.random() < 0.01:
                    await bank.stop(self.random.choice([0.0, 0.01]))
                    bank = await self.start(supervisor, lambda: bank_type(self.ledger), "bank")
            if self.random.random() < 0.5:
                await settle()
            if self.random.random() < 0.3:
                supervisor.task_group.cancel_scope.cancel()
        # Everybody was answered, or the block above would not have been left.
        self.balance()

    def stir(self, group: TaskGroup, bank: ActorRef[Any], client: ActorRef[Any]) -> None:
        match self.random.randrange(13):
            case 0 | 1 | 2 | 3 | 4:
                group.start_soon(self.ask, bank)
            case 5 | 6:
                group.start_soon(self.tell, client, Order(self.message()))
            case 7 | 8:
                group.start_soon(self.tell, bank, Pay())
            case 9 | 10 if self.scopes:
                self.scopes.pop(self.random.randrange(len(self.scopes))).cancel()
            case 11:
                group.start_soon(self.tell, bank, self.random.choice([Crash(True), Crash(False), CrashBeside(2)]))
            case _:
                group.start_soon(self.tell, client, Crash(False))

    def balance(self) -> None:
        ledger = self.ledger
        for reply in ledger.owed:
            assert reply.done
            assert reply.set(ledger.coin()) is False
        assert ledger.open == 0
        assert ledger.given - set(ledger.ends) == set()
        assert {coin for coin, times in ledger.ends.items() if times > 1} == set()


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all"])
async def test_after_a_storm_every_account_balances_and_nobody_waits(strategy: str):
    for seed in range(12):
        with anyio.fail_after(20):
            await Storm(seed).rage(strategy)
