"""Calls that can be left behind: an agent may refuse to end, and nobody must wait for it for ever.

```
call = detached_task(function, …)           a task on the running loop; cancel() asks it to end
call = await threads.start(function, …)     a daemon thread; it hears of it when it waits on its event loop
await call.end(seconds)                     True once it has ended; else it is left behind, and its owner names it
```

anyio's task groups wait for all their tasks, so a call that swallows its cancellation would hold up everything around
it. These are tasks and threads outside any group: whoever starts one also ends it. A task that never ends still keeps
``asyncio.run``, ``anyio.run`` and ``trio.run`` from returning, for these wait for all tasks.
"""

from __future__ import annotations

from lightning_actors.detached.call import DetachedCall
from lightning_actors.detached.seat import await_on_home_loop, home_loop, home_wait, runs_a_loop
from lightning_actors.detached.task import detached_task, is_called_by, is_in_detached_task
from lightning_actors.detached.threads import DaemonThreads

__all__ = [
    "DaemonThreads",
    "DetachedCall",
    "await_on_home_loop",
    "detached_task",
    "home_loop",
    "home_wait",
    "is_called_by",
    "is_in_detached_task",
    "runs_a_loop",
]
