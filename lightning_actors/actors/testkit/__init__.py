"""What tests of actors need: ours, and yours.

```
clock = VirtualClock()            time stands still until the test moves it, or goes on by itself: clock.autojump()
probe = Probe()                   an actor that keeps what it gets: await probe.receive(Paid)
with no_dead_letters() as bury:   fails if anything could not be delivered
async with nothing_left_running() fails if a task or a thread of ours is left, and names it
Schedule(seed).run(main)          decides by a seed who runs next: the same seed, the same run
Faults({3: CrashActor()})         what goes wrong with an actor's nth message: it crashes, waits, or is lost
crash(ref, error)                 crashes an actor now, whatever it does
await settle()                    lets everybody run until they wait
```
"""

from __future__ import annotations

from lightning_actors.actors.testkit.autojump import Stuck
from lightning_actors.actors.testkit.dead_letter_box import DeadLetterBox, no_dead_letters
from lightning_actors.actors.testkit.faults import (
    CrashActor,
    DelayMessage,
    DropMessage,
    Fault,
    Faults,
    InjectedCrash,
    crash,
)
from lightning_actors.actors.testkit.idle import settle, until_idle
from lightning_actors.actors.testkit.left_running import nothing_left_running
from lightning_actors.actors.testkit.probe import Probe
from lightning_actors.actors.testkit.schedule import Schedule
from lightning_actors.actors.testkit.virtual_clock import VirtualClock

__all__ = [
    "CrashActor",
    "DeadLetterBox",
    "DelayMessage",
    "DropMessage",
    "Fault",
    "Faults",
    "InjectedCrash",
    "Probe",
    "Schedule",
    "Stuck",
    "VirtualClock",
    "crash",
    "no_dead_letters",
    "nothing_left_running",
    "settle",
    "until_idle",
]
