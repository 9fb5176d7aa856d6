"""What tests of emitters share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lightning_actors.log import LogEvent


@pytest.fixture
def reported(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, dict[str, Any]]]]:
    """What our loggers have said so far: events and their fields."""

    def so_far() -> list[tuple[str, dict[str, Any]]]:
        messages: list[object] = [record.msg for record in caplog.records]
        return [(message.event, message.fields) for message in messages if isinstance(message, LogEvent)]

    return so_far
