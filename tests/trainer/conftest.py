"""What tests of the trainer share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import Any

import pytest

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.log import LogEvent
from lightning_actors.store import InMemoryLightningStore

Logged = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Generator[Logged]:
    """The fields of all events of a name that were logged."""

    def of(name: str) -> list[dict[str, Any]]:
        messages = [record.msg for record in caplog.records]
        return [message.fields for message in messages if isinstance(message, LogEvent) and message.event == name]

    with caplog.at_level(logging.INFO, "lightning_actors"):
        yield of


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that only the test moves."""
    return VirtualClock()


@pytest.fixture
def store() -> InMemoryLightningStore:
    """A store on the machine's own clock."""
    return InMemoryLightningStore()


@pytest.fixture
def timed_store(clock: VirtualClock) -> InMemoryLightningStore:
    """A store on the clock that only the test moves."""
    return InMemoryLightningStore(clock=clock)
