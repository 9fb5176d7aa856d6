"""The guide's three processes, for real: store, runners and an algorithm that know of each other by the store alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
from processes import Child, Children, children
from stand_in import Message, StandIn, serve_stand_in

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
EXAMPLE: Final = str(EXAMPLES / "three_processes.py")
CAPITALS: Final = {"Japan": "Tokyo", "France": "Paris", "Australia": "Canberra", "Kenya": "Nairobi"}


def answer(messages: Sequence[Message]) -> str:
    """Name the capital; for France only if the prompt asks for a city."""
    prompt: str = messages[-1]["content"]
    (country,) = (country for country in CAPITALS if country in prompt)
    return CAPITALS[country] if country != "France" or "city" in prompt else "a long story"


@pytest.fixture(scope="module")
def model() -> Iterator[StandIn]:
    with serve_stand_in(answer) as stand_in:
        yield stand_in


@pytest.fixture
def started() -> Iterator[Children]:
    with children() as them:
        yield them


def address_of(store: Child) -> str:
    """Where a store says that it listens."""
    return store.until_says("listens at").rpartition(" ")[2]


def check(algorithm: Child) -> None:
    assert algorithm.ended() == 0, algorithm.lines
    scores = [line for line in algorithm.lines if line.startswith("score")]
    assert [score[:11] for score in scores] == ["score 0.75:", "score 1.00:"]
    assert algorithm.lines[-1].startswith("latest resources: ")
    assert "Answer with the name of the city" in algorithm.lines[-1]
    assert sum("prompt: " in line for line in algorithm.lines) == 2 * len(CAPITALS)


def test_three_scripts_meet_at_the_store_in_whatever_order_they_start(started: Children, model: StandIn) -> None:
    environment = {"OPENAI_BASE_URL": model.base_url, "OPENAI_MODEL": "stand-in"}
    store = started.start(EXAMPLE, "store", "--store", "http://127.0.0.1:0")
    address = address_of(store)
    algorithm = started.start(EXAMPLE, "algorithm", "--store", address, environment=environment)
    runner = started.start(EXAMPLE, "runner", "--store", address)
    check(algorithm)
    for child in (runner, store):
        child.send(signal.SIGINT)
        assert child.ended() == 0, child.lines
        assert "Traceback" not in "\n".join(child.lines)


def test_commands_do_for_the_store_and_the_runners(started: Children, model: StandIn) -> None:
    store = started.command("store", "--port", "0")
    address = address_of(store)
    runner = started.command("runner", "--agent", "capitals:name_capital", "-n", "2", "--store", address, cwd=EXAMPLES)
    environment = {"OPENAI_BASE_URL": model.base_url, "OPENAI_MODEL": "stand-in"}
    check(started.start(EXAMPLE, "algorithm", "--store", address, environment=environment))
    for child in (runner, store):
        child.send(signal.SIGTERM)
        assert child.ended() == 0, child.lines
        assert "Traceback" not in "\n".join(child.lines)


def test_the_same_algorithm_runs_in_one_process_with_a_trainer(started: Children, model: StandIn) -> None:
    environment = {"OPENAI_BASE_URL": model.base_url, "OPENAI_MODEL": "stand-in"}
    check(started.start(EXAMPLE, "together", environment=environment))
