"""Two actors under a supervisor: a till that takes money, and a bell that it rings for every hundred."""

from dataclasses import dataclass

import anyio

from lightning_actors.actors import Actor, ActorRef, Message, Supervisor, handles


@dataclass(frozen=True)
class Pay(Message[float]):
    """Pay; the reply says what the till holds."""

    amount: float


@dataclass(frozen=True)
class Ring(Message[None]):
    """Ring the bell."""


class Bell(Actor):
    """Rings."""

    @handles(Ring)
    def ring(self, _: Ring) -> None:
        """Ring once."""
        print("ring!")


class Till(Actor):
    """Adds up what is paid."""

    def __init__(self, bell: ActorRef[Bell]) -> None:
        self.bell, self.total = bell, 0.0

    @handles(Pay)
    async def pay(self, message: Pay) -> float:
        """Take the money."""
        if message.amount <= 0:
            raise ValueError(f"{message.amount} is no payment")
        self.total += message.amount
        if self.total % 100 < message.amount:
            await self.bell.ask(Ring())
        return self.total


async def main() -> None:
    """Pay, fail, and pay again."""
    async with Supervisor() as supervisor:
        bell = await supervisor.start(Bell)
        till = await supervisor.start(lambda: Till(bell))
        print("the till holds", await till.ask(Pay(60)), "then", await till.ask(Pay(50)))
        await till.tell(Pay(-1))  # an error in an ask goes to the asker; in a tell it crashes the actor
        print("a new till holds", await till.ask(Pay(1)), "after", len(till.inspect().restarts), "restart")


if __name__ == "__main__":
    anyio.run(main)
