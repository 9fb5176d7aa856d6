"""What `Trainer.dev` adds to a run: a bound on the tasks, and a report of each rollout as it ends."""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from types import TracebackType
from typing import Generic, Self, SupportsIndex, TextIO, TypeVar

from lightning_actors.report import render_span_tree
from lightning_actors.runner import Execution
from lightning_actors.types import Dataset

__all__ = ["DryRun", "first_tasks"]

T = TypeVar("T")

_MOST_TASKS = 10


class _First(Generic[T]):
    """The first tasks of a dataset, which is read only as they are wanted."""

    def __init__(self, tasks: Dataset[T], count: int) -> None:
        self._tasks = tasks
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: SupportsIndex, /) -> T:
        if not 0 <= index.__index__() < self._count:
            raise IndexError(f"there are {self._count} tasks, and none at {index.__index__()}")
        return self._tasks[index]


def first_tasks(train: Dataset[T] | None, val: Dataset[T] | None) -> tuple[Dataset[T] | None, Dataset[T] | None]:
    """The first ten tasks of both datasets together; says so where there are more."""
    n_train, n_val = (0 if tasks is None else len(tasks) for tasks in (train, val))
    if n_train + n_val > _MOST_TASKS:
        print(f"dev runs the first {_MOST_TASKS} of {n_train + n_val} tasks; fit runs them all")  # noqa: T201 - dev prints
    some = min(n_train, _MOST_TASKS)
    more = min(n_val, _MOST_TASKS - some)
    return None if train is None else _First(train, some), None if val is None else _First(val, more)


class DryRun:
    """Prints each rollout as it ends, and a summary at the end.

    Args:
        out: Where to; standard output by default.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out
        self._statuses: Counter[str] = Counter()
        self._rewards: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            counts = ", ".join(f"{count} {status}" for status, count in self._statuses.items()) or "no tasks ran"
            mean = f", mean reward {sum(self._rewards) / len(self._rewards):.3f}" if self._rewards else ""
            self._print(f"{counts}{mean}")

    def show(self, execution: Execution) -> None:
        """Print one rollout: the agent's own traceback first, then status, reward, duration and spans."""
        self._statuses[execution.status] += 1
        if execution.reward is not None:
            self._rewards.append(execution.reward)
        rollout, error = execution.rollout, execution.error
        if error is not None:
            self._print("".join(traceback.format_exception(_own_frames(error))).rstrip())
        reward = "no reward" if execution.reward is None else f"reward {execution.reward:g}"
        task = repr(rollout.input)
        shown = task if len(task) <= 80 else f"{task[:79]}…"  # noqa: PLR2004 - one line of a terminal
        self._print(
            f"{rollout.rollout_id}  {execution.status}  {reward}  {execution.seconds:.3f} s  "
            f"attempt {rollout.attempt.sequence_id}\n  task {shown}"
        )
        if execution.spans:
            self._print(render_span_tree(execution.spans))
        self._print("")

    def _print(self, text: str) -> None:
        print(text, file=self._out or sys.stdout)


def _own_frames(error: BaseException) -> BaseException:
    """The error with the runner's frames taken off, so that the agent's come first."""
    trace = error.__traceback__
    own = trace
    while own is not None and "/lightning_actors/" in own.tb_frame.f_code.co_filename.replace("\\", "/"):
        own = own.tb_next
    return error.with_traceback(own if own is not None else trace)
