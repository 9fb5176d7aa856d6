"""Every case runs, at a size at which its figures mean nothing, on every loop that it can be given."""

from __future__ import annotations

import anyio
import pytest

from benchmarks.case import Case, Contender, Options
from benchmarks.cases.in_flight import check
from benchmarks.cases.pool import run_pool
from benchmarks.cases.store import make_span
from benchmarks.figure import Sample
from benchmarks.harness import run_case
from benchmarks.meter import BACKENDS, Backend, run_on
from benchmarks.registry import CASES
from lightning_actors import InMemoryLightningStore, Rollout, emit_reward, rollout

RUNS = [(case, backend) for case in CASES.values() for backend in (BACKENDS if case.chooses_loop else BACKENDS[:1])]


def here(case: Case, contender: Contender, options: Options) -> Sample:
    """Take the sample in this process."""
    return (case.ours if contender == "ours" else case.bare)(options)


@pytest.mark.parametrize(("case", "backend"), [pytest.param(*run, id=f"{run[0].name}-{run[1]}") for run in RUNS])
def test_every_case_runs_and_gives_its_figures(case: Case, backend: Backend) -> None:
    run = run_case(case, here, rounds=1, tiny=True, backend=backend)
    without_peer = [figure for figure in case.figures if "peer" not in figure.needs]
    assert without_peer
    for figure in without_peer:
        spread = figure.spread(run.rounds)
        assert spread is not None
        assert spread.median == spread.low == spread.high
        assert figure.shows is None or figure.shown("ours", run.rounds) is not None


def test_every_case_is_found_by_its_name_and_says_what_is_promised() -> None:
    assert [name for name, case in CASES.items() if name != case.name] == []
    assert {case.name for case in CASES.values() if any(figure.reach for figure in case.figures)} == set(CASES)


def test_a_pool_whose_rollouts_fail_is_no_measurement() -> None:
    @rollout
    async def failing(task: int) -> float:
        raise ValueError(task)

    with pytest.raises(RuntimeError, match="2 rollouts were sent, and this came of them: <RunResult 2 failed"):
        run_on("asyncio", lambda: run_pool(failing, 1, 2))


async def ended_with_span_of(store: InMemoryLightningStore, task: int, number: int) -> Rollout:
    started = await store.start_rollout(task)
    ids = (started.rollout_id, started.attempt.attempt_id)
    span = make_span(*ids).model_copy(update={"name": "work", "attributes": {"number": number}})
    reward = make_span(*ids).model_copy(update={"attributes": emit_reward(float(task), propagate=False).attributes})
    await store.add_many_spans([span, reward])
    await store.update_attempt(*ids, status="succeeded")
    ended = await store.get_rollout_by_id(started.rollout_id)
    assert ended is not None
    return ended


def test_a_span_that_went_astray_is_found() -> None:
    async def main() -> None:
        store = InMemoryLightningStore()
        await check(store, [await ended_with_span_of(store, 0, 0)], 1)
        with pytest.raises(RuntimeError, match=r"of task 0 has the spans of \[1\]"):
            await check(store, [await ended_with_span_of(store, 0, 1)], 1)

    anyio.run(main)


def test_a_rollout_that_was_lost_is_missed() -> None:
    async def main() -> None:
        store = InMemoryLightningStore()
        with pytest.raises(RuntimeError, match="2 rollouts were begun, and 1 came back"):
            await check(store, [await ended_with_span_of(store, 0, 0)], 2)

    anyio.run(main)
