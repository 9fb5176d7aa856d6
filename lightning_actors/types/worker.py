"""What lives beside a rollout: things with a worker's life cycle, hooks, results and datasets.

Source: names and signatures are those of Agent Lightning 0.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, SupportsIndex, TypeVar

from opentelemetry.sdk.trace import ReadableSpan

from lightning_actors.types.core import Rollout
from lightning_actors.types.tracer import Span, SpanCoreFields

__all__ = ["Dataset", "Hook", "ParallelWorkerBase", "RolloutRawResult"]

T_co = TypeVar("T_co", covariant=True)

RolloutRawResult = float | Sequence[ReadableSpan] | Sequence[Span] | Sequence[SpanCoreFields] | None
"""What an agent may return: nothing, its final reward, or the spans of the rollout."""


class Dataset(Protocol[T_co]):
    """Tasks that can be counted and picked by position; a plain list is one."""

    def __getitem__(self, index: SupportsIndex, /) -> T_co:
        """The task at this position."""
        ...

    def __len__(self) -> int:
        """How many tasks there are."""
        ...


class ParallelWorkerBase:
    """Something set up once for all workers, then once for each, and torn down in reverse."""

    worker_id: int | None = None

    def init(self, *args: Any, **kwargs: Any) -> None:
        """Set up what all workers share."""

    def init_worker(self, worker_id: int, *args: Any, **kwargs: Any) -> None:
        """Set up what belongs to one worker."""
        self.worker_id = worker_id

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Do the work."""

    def teardown_worker(self, worker_id: int, *args: Any, **kwargs: Any) -> None:
        """Undo ``init_worker``."""

    def teardown(self, *args: Any, **kwargs: Any) -> None:
        """Undo ``init``."""


class Hook(ParallelWorkerBase):
    """Observe rollouts; override what you need.

    Order within one rollout: ``on_rollout_start``, ``on_trace_start``, the agent, ``on_trace_end``,
    ``on_rollout_end``; the ends are called also when the agent failed. Several hooks run in the order given.
    A hook that raises is logged and changes nothing else.
    """

    async def on_trace_start(self, *, agent: Any, runner: Any, tracer: Any, rollout: Rollout) -> None:
        """The trace is open and the agent is about to be called."""

    async def on_trace_end(self, *, agent: Any, runner: Any, tracer: Any, rollout: Rollout) -> None:
        """The agent has returned or failed; the trace is still open."""

    async def on_rollout_start(self, *, agent: Any, runner: Any, rollout: Rollout) -> None:
        """The attempt is about to begin."""

    async def on_rollout_end(self, *, agent: Any, runner: Any, rollout: Rollout, spans: Sequence[Span]) -> None:
        """The trace is closed and written; ``spans`` holds all of it, the final reward's span included."""
