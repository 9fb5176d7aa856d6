"""The forms of a line: readable, or JSON."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from lightning_actors.log.event import LogEvent, long_texts_apart

__all__ = ["EventFormatter", "json_formatter", "readable_formatter"]

_OWN_KEYS: Final = frozenset({"timestamp", "level", "logger", "event", "exception", "stack"})


class EventFormatter(logging.Formatter):
    """Turns a record, ours or anybody's, into one line."""

    def __init__(
        self, render: Callable[[logging.Logger, str, dict[str, Any]], str | bytes], tell_time: Callable[[float], str]
    ) -> None:
        super().__init__()
        self._render = render
        self._tell_time = tell_time

    def format(self, record: logging.LogRecord) -> str:
        """The finished line; a traceback follows it, or is one of its fields in JSON."""
        message = record.msg
        known = message.fields if isinstance(message, LogEvent) else {}
        parts: dict[str, Any] = {
            "timestamp": self._tell_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": message.event if isinstance(message, LogEvent) else record.getMessage(),
        }
        parts |= {f"{key}_" if key in _OWN_KEYS else key: value for key, value in known.items()}
        if record.exc_info:
            parts["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            parts["stack"] = self.formatStack(record.stack_info)
        line = self._render(logging.getLogger(record.name), parts["level"], parts)
        return line if isinstance(line, str) else line.decode()


def readable_formatter(*, color: bool, with_date: bool) -> EventFormatter:
    """Readable lines, in local time."""
    renderer = structlog.dev.ConsoleRenderer(
        colors=color, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
    )

    def readable(logger: logging.Logger, method: str, parts: dict[str, Any]) -> str:
        short, blocks = long_texts_apart(parts, but=_OWN_KEYS)
        return renderer(logger, method, short) + blocks

    return EventFormatter(readable, _day_and_time if with_date else _time)


def json_formatter() -> EventFormatter:
    """One JSON object a line, in UTC."""
    render = structlog.processors.JSONRenderer()

    def strict(logger: logging.Logger, method: str, parts: dict[str, Any]) -> str | bytes:
        return render(logger, method, {key: _strict(value) for key, value in parts.items()})

    return EventFormatter(strict, _utc)


def _strict(value: Any) -> Any:
    """JSON has no word for NaN and infinity; a reward may be either."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%H:%M:%S.%f}"[:-3]


def _day_and_time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3]


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
