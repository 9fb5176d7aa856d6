"""Benchmark any agent on a file of tasks: many rollouts at once, a result for each, and a summary.

```
python examples/benchmark_agent.py package.module:agent tasks.jsonl --limit 16 --out results.jsonl
```

Each line of the tasks is a JSON value, which is the agent's task. Where it is an object with the key ``id``, that names
it in the results; otherwise the number of its line does. ``--resources`` is a file with a JSON object of resources by
name, such as ``{"llm": {"resource_type": "llm", "endpoint": "http://127.0.0.1:8000/v1", "model": "small"}}``.

Results are written as they come, and the same command again goes on where it stopped: see ``--help``.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import TaskStatus
from benchmark_results import Result, ResultsFile
from benchmark_summary import figure, summary
from benchmark_tasks import Task, digest_of, read_resources, read_tasks

import lightning_actors as agl
from lightning_actors.components import build_component
from lightning_actors.semconv import AGL_ROLLOUT

RESUMING: Final = """
The same command again goes on where it stopped, also after a kill: tasks that have a result, whatever it is, are not
run again. At Ctrl-C no more tasks begin, and those under way finish; a second Ctrl-C cancels these, and they have no
result.

A file of results is of one agent, one set of resources and one file of tasks, to which more may be added at its end.
Results are never replaced. Where a task has changed since its result was written, the command says so and runs nothing:
take that result's line away to run the task again, or name another file. So it does where the agent's name or the
resources are others; it cannot tell that the agent's own code has changed.

One process at a time writes to a file of results; another one is told which that is, and ends.
"""
_INTERRUPTED: Final = 130
_SHOWN: Final = 5
_TIMES: Final = 10
_TIMES_ON_TERMINAL: Final = 200


@dataclass(frozen=True, slots=True)
class Setup:
    """What is measured.

    Attributes:
        agent: The agent.
        name: What it is called in the results.
        resources: What it is given.
        resources_digest: Tells whether these are still the same; None if there are none.
    """

    agent: agl.LitAgent[Any]
    name: str
    resources: agl.NamedResources | None = None
    resources_digest: str | None = None


class Benchmark:
    """A benchmark under way.

    Args:
        setup: What is measured.
        tasks: All tasks.
        file: Where results go, and which were there before.

    Raises:
        ValueError: What is in the file is not of these tasks, this agent and these resources.
    """

    def __init__(self, setup: Setup, tasks: Sequence[Task], file: ResultsFile) -> None:
        file.refuse_others({task.id: task.digest for task in tasks}, setup.name, setup.resources_digest)
        self._setup = setup
        self._file = file
        self._results = list(file.before)
        known = {result.task_id for result in self._results}
        self._total = len(tasks)
        self._to_run = [task for task in tasks if task.id not in known]
        # A rollout knows its task's value and not its line; lines with equal values are interchangeable.
        self._ids: dict[str, deque[int | str]] = {}
        for task in self._to_run:
            self._ids.setdefault(task.digest, deque()).append(task.id)
        self._recorded: set[str] = set()
        self._began = self._seconds = 0.0
        self.is_interrupted = False

    async def run(self, *, limit: int, seconds: float | None) -> None:
        """Run what has no result yet.

        Args:
            limit: How many rollouts run at once.
            seconds: How long each may take; None for no limit.

        Raises:
            OSError: A result cannot be written.
        """
        agent, resources = self._setup.agent, self._setup.resources
        store = agl.InMemoryLightningStore()
        # With as many threads as rollouts, a sync agent never waits for one, which would count as its own time.
        runner = agl.LitAgentRunner[Any](agl.OtelTracer(), max_threads=limit)
        config = agl.RolloutConfig(timeout_seconds=seconds)
        failure: OSError | None = None
        self._began = time.monotonic()
        async with runner.run_context(agent=agent, store=store), anyio.create_task_group() as group:
            everything = anyio.CancelScope()
            await group.start(self._heed_signals, everything)
            rollouts = runner.step_many(self._inputs(), limit=limit, resources=resources, config=config)
            try:
                with everything:
                    async with rollouts:
                        async for rollout in rollouts:
                            await self._record(store, rollout)
                await self._record_unseen(store)
            except OSError as error:
                failure = error  # raised below, as the task group would wrap it
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def summary(self) -> list[str]:
        """What came of all tasks that have a result, in lines."""
        return summary(self._results, self._total, len(self._recorded), self._seconds)

    def _inputs(self) -> Iterator[Any]:
        for task in self._to_run:
            if self.is_interrupted:
                return
            yield task.value

    async def _heed_signals(self, everything: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                if self.is_interrupted:
                    everything.cancel()
                self.is_interrupted = True
                say("interrupted: what runs may finish, once more cancels it")

    async def _record_unseen(self, store: agl.LightningStore) -> None:
        """Where all was cancelled, some may have finished without having been handed out."""
        for rollout in await store.query_rollouts(status_in=["succeeded", "failed"]):
            if rollout.rollout_id not in self._recorded:
                await self._record(store, rollout)

    async def _record(self, store: agl.LightningStore, rollout: agl.Rollout) -> None:
        spans = await store.query_spans(rollout.rollout_id, "latest")
        digest = digest_of(rollout.input)
        result = result_of(self._ids[digest].popleft(), digest, self._setup, rollout, spans)
        self._file.add(result)
        self._results.append(result)
        self._recorded.add(rollout.rollout_id)
        self._seconds = time.monotonic() - self._began
        self._tell_progress()

    def _tell_progress(self) -> None:
        """Now and then say how far it is: on a terminal in one line that changes, elsewhere in ten."""
        done, total = len(self._recorded), len(self._to_run)
        times = _TIMES_ON_TERMINAL if sys.stderr.isatty() else _TIMES
        if done * times // total > (done - 1) * times // total:
            rewards = [result.reward for result in self._results if result.reward is not None]
            mean = f", mean reward {figure(sum(rewards) / len(rewards))}" if rewards else ""
            failed = sum(result.status != "succeeded" for result in self._results)
            say(f"{done}/{total}{mean}, {failed} failed, {done / self._seconds:.1f} a second", is_passing=True)


def result_of(task_id: int | str, digest: str, setup: Setup, rollout: agl.Rollout, spans: Sequence[agl.Span]) -> Result:
    """What there is to say of a rollout. Its time and its error are those of the span around the agent."""
    root = next((span for span in spans if span.name == AGL_ROLLOUT), None)
    begun, ended = (None, None) if root is None else (root.start_time, root.end_time)
    error, message = error_of(rollout, root)
    return Result(
        task_id=task_id,
        task_digest=digest,
        agent=setup.name,
        resources_digest=setup.resources_digest,
        rollout_id=rollout.rollout_id,
        status=rollout.status,
        reward=agl.find_final_reward(spans),
        seconds=ended - begun if begun is not None and ended is not None else 0.0,
        error=error,
        message=message,
    )


def error_of(rollout: agl.Rollout, root: agl.Span | None) -> tuple[str | None, str | None]:
    """The class of what it failed with, and what that said, if anything; None for one that succeeded."""
    if rollout.status == "succeeded":
        return None, None
    for event in () if root is None else root.events:
        if event.name == "exception" and "exception.type" in event.attributes:
            said = encodable(str(event.attributes.get("exception.message", "")))
            return encodable(str(event.attributes["exception.type"])), said
    # It ended before the agent was called, such as at a deadline on a machine that is too busy.
    attempt = rollout.attempt if isinstance(rollout, agl.AttemptedRollout) else None
    return (rollout.status, None) if attempt is None else (attempt.status, json.dumps(attempt.metadata))


def encodable(text: str) -> str:
    r"""A text that a file can hold: half a character, as in the name of a file that is no UTF-8, is written \udcff."""
    return text.encode("utf-8", "backslashreplace").decode()


def say(text: str, *, is_passing: bool = False) -> None:
    """Tell the person who waits; on a terminal, what is said next takes the place of a passing line."""
    is_terminal = sys.stderr.isatty()
    end = "" if is_terminal and is_passing else "\n"
    print(f"\r\x1b[K{text}" if is_terminal else text, end=end, file=sys.stderr, flush=True)


def parsed_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Benchmark an agent on a file of tasks.",
        epilog=RESUMING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("agent", help="where to import it from: package.module:agent")
    parser.add_argument("tasks", type=Path, help="a file with one JSON value to a line")
    parser.add_argument("--out", type=Path, required=True, help="results are added to this file")
    parser.add_argument("--limit", type=positive, default=16, help="rollouts that run at once (default: 16)")
    parser.add_argument("--resources", type=Path, help="a file with a JSON object of resources by name")
    parser.add_argument("--timeout", type=positive_seconds, help="seconds that a rollout may take")
    return parser.parse_args()


def positive(text: str) -> int:
    """A whole number, 1 or more. Raises ValueError."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def positive_seconds(text: str) -> float:
    """A number above 0. Raises ValueError."""
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError
    return seconds


def main(arguments: argparse.Namespace) -> int:
    """Run the benchmark; the exit code."""
    sys.path.insert(0, str(Path.cwd()))  # the agent's module stands where the command is given, not beside this file
    agent: Any = build_component(arguments.agent, expected_type=agl.LitAgent, spec_name="agent")
    tasks = read_tasks(arguments.tasks)
    resources = (None, None) if arguments.resources is None else read_resources(arguments.resources)
    with ResultsFile(arguments.out) as file:
        benchmark = Benchmark(Setup(agent, arguments.agent, *resources), tasks, file)
        if file.before:
            say(f"{arguments.out} has {len(file.before)} of {len(tasks)} results already")
        anyio.run(partial(benchmark.run, limit=arguments.limit, seconds=arguments.timeout))
    if sys.stderr.isatty():
        say("", is_passing=True)
    print(*benchmark.summary(), sep="\n")
    return _INTERRUPTED if benchmark.is_interrupted else 0


if __name__ == "__main__":
    agl.configure_logger("WARNING")
    try:
        sys.exit(main(parsed_arguments()))
    except (agl.LightningError, OSError, TypeError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:  # before anything runs; from then on it is heeded
        sys.exit(_INTERRUPTED)
