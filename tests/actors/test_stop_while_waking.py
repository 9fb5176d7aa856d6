"""A stop that comes while the actor is on its way to a notice: it needs no grace time."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import pytest
from anyio.lowlevel import checkpoint

from lightning_actors.actors import Actor, DeadLetter, Message, handles, hosted

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Give(Message[int]):
    pass


class Giver(Actor):
    @handles(Give)
    def give(self, message: Give) -> int:
        return 1


async def test_a_stop_right_after_a_reply_that_nobody_took_ends_an_idle_actor_at_once() -> None:
    letters: list[DeadLetter] = []
    for moments in [*range(8)] * 5:
        with anyio.fail_after(30):
            async with (
                hosted(Giver, grace=3600.0, dead_letters=letters.append) as giver,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(giver.ask, Give())
                for _ in range(moments):
                    await checkpoint()
                tasks.cancel_scope.cancel()
    assert {letter.reason for letter in letters} <= {"undelivered"}
