"""The library's logging: structured events over the standard library's loggers.

```
log.info("rollout_finished", rollout_id=…)  →  logging.getLogger("lightning_actors.runner")
    nobody configured anything                  warnings and errors on stderr, as text (the standard library's rule)
    the host configured logging                 its handlers get it: str(record.msg) is text, record.msg.fields the keys
    configure_logger() was called               one handler of ours on "lightning_actors": readable lines, or JSON
```

Importing the library configures nothing. Neither the root logger nor structlog's own configuration is ever touched.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable, Container
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import structlog
from structlog.contextvars import merge_contextvars

from lightning_actors.errors import ConfigError

__all__ = ["BoundLogger", "LogEvent", "configure_logger", "get_logger", "setup_logging"]

_ROOT_NAMES: Final = frozenset({"", "root"})
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_OWN_KEYS: Final = frozenset({"timestamp", "level", "logger", "event", "exception", "stack"})
_CALLER: Final = 3  # frames from the standard library's log call to the line that logs: _emit, info, that line


class LogEvent:
    """What happened: the message of every log record of this library.

    Attributes:
        event: A fixed snake_case name.
        fields: What is known about it, by key.
    """

    __slots__ = ("event", "fields")

    def __init__(self, event: str, fields: dict[str, Any]) -> None:
        self.event = event
        self.fields = fields

    def __str__(self) -> str:
        """``event key=value …``: what a handler that knows nothing of events prints. Long texts stand below."""
        short, blocks = _apart(self.fields)
        return " ".join((self.event, *(f"{key}={_text(value)}" for key, value in short.items()))) + blocks


class BoundLogger(structlog.BoundLoggerBase):
    """A logger with keys bound to it; it costs one look at the level while that level is off.

    ``bind(**fields)`` and ``unbind(*keys)`` give another logger and leave this one alone. Extra keyword arguments of
    the logging methods are the event's fields; ``exc_info`` and ``stack_info`` mean what they mean in the standard
    library. Positional arguments fill ``%s`` in the event.
    """

    _logger: logging.Logger

    @property
    def stdlib(self) -> logging.Logger:
        """The standard library's logger underneath."""
        return self._logger

    def debug(self, event: str, /, *args: object, **fields: Any) -> None:
        """Log what helps to follow one rollout."""
        if self._logger.isEnabledFor(logging.DEBUG):
            self._emit(logging.DEBUG, event, args, fields)

    def info(self, event: str, /, *args: object, **fields: Any) -> None:
        """Log progress."""
        if self._logger.isEnabledFor(logging.INFO):
            self._emit(logging.INFO, event, args, fields)

    def warning(self, event: str, /, *args: object, **fields: Any) -> None:
        """Log what the user should look at."""
        if self._logger.isEnabledFor(logging.WARNING):
            self._emit(logging.WARNING, event, args, fields)

    def error(self, event: str, /, *args: object, **fields: Any) -> None:
        """Log what went wrong."""
        if self._logger.isEnabledFor(logging.ERROR):
            self._emit(logging.ERROR, event, args, fields)

    def critical(self, event: str, /, *args: object, **fields: Any) -> None:
        """Log what ends the run."""
        if self._logger.isEnabledFor(logging.CRITICAL):
            self._emit(logging.CRITICAL, event, args, fields)

    def exception(self, event: str, /, *args: object, **fields: Any) -> None:
        """Log what went wrong, with the traceback of the error being handled."""
        if self._logger.isEnabledFor(logging.ERROR):
            self._emit(logging.ERROR, event, args, {"exc_info": True, **fields})

    def log(self, level: int, event: str, /, *args: object, **fields: Any) -> None:
        """Log at a level chosen at run time."""
        if self._logger.isEnabledFor(level):
            self._emit(level, event, args, fields)

    def _emit(self, level: int, event: str, args: tuple[object, ...], fields: dict[str, Any]) -> None:
        exc_info, stack_info = fields.pop("exc_info", None), fields.pop("stack_info", False)
        _, known = self._process_event(logging.getLevelName(level).lower(), None, fields)
        message = LogEvent(event % args if args else event, dict(known))
        self._logger.log(level, message, exc_info=exc_info, stack_info=stack_info, stacklevel=_CALLER)


class EventFormatter(logging.Formatter):
    """Turns a record, ours or anybody's, into one line."""

    def __init__(
        self, render: Callable[[logging.Logger, str, dict[str, Any]], str | bytes], *, local_time: bool
    ) -> None:
        super().__init__()
        self._render = render
        self._local_time = local_time

    def format(self, record: logging.LogRecord) -> str:
        """The finished line; a traceback follows it, or is one of its fields in JSON."""
        message = record.msg
        known = message.fields if isinstance(message, LogEvent) else {}
        parts: dict[str, Any] = {
            "timestamp": self._timestamp(record.created),
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

    def _timestamp(self, created: float) -> str:
        if self._local_time:
            return datetime.fromtimestamp(created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        return datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _EventHandler(logging.Handler):
    """Writes to the stream it was given, else to whatever stderr is at the time."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        try:
            stream: TextIO | None = self._stream or sys.stderr
            if stream is not None:  # a windowed program on Windows has no stderr
                stream.write(self.format(record) + "\n")
                stream.flush()
        except Exception:  # noqa: BLE001 - the boundary that logging prescribes: a log line never breaks its caller
            self.handleError(record)


def get_logger(name: str = "lightning_actors", **fields: Any) -> BoundLogger:
    """A logger for events, over the standard library's logger of that name.

    Args:
        name: ``lightning_actors`` or a name below it, as in ``lightning_actors.runner``.
        **fields: Keys to bind to it from the start.

    Returns:
        The logger. Making one configures nothing.
    """
    return BoundLogger(logging.getLogger(name), (merge_contextvars,), fields)


def configure_logger(
    level: int | str = "INFO",
    *,
    name: str = "lightning_actors",
    json: bool = False,
    color: bool | None = None,
    stream: TextIO | None = None,
) -> BoundLogger:
    """Show the library's events, in the same form in debug and in training runs.

    Calling it again replaces what the last call set up. The logger no longer passes its records on to the handlers of
    the root logger, so nothing is printed twice.

    Args:
        level: The least level that is shown, by name (any case) or number.
        name: The logger to set up; the default is that of the whole package.
        json: One JSON object a line, times in UTC, instead of readable lines in local time.
        color: Whether readable lines are coloured; None to do so on a terminal, unless ``NO_COLOR`` is set.
        stream: Where lines go; None for stderr.

    Returns:
        The logger of that name.

    Raises:
        ConfigError: There is no such level, or the name is that of the root logger.
    """
    if name in _ROOT_NAMES:
        raise ConfigError(
            f"configure_logger does not set up the root logger (name={name!r}): it belongs to the application. "
            f"Leave name out for the library's own logger"
        )
    threshold = _level_number(level)
    handler = _EventHandler(stream)
    handler.setFormatter(_json_formatter() if json else _console_formatter(stream, color=color))
    logger = logging.getLogger(name)
    for old in [known for known in logger.handlers if isinstance(known, _EventHandler)]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(threshold)
    logger.propagate = False
    return get_logger(name)


setup_logging = configure_logger


def _level_number(level: int | str) -> int:
    if isinstance(level, str):
        number = logging.getLevelNamesMapping().get(level.strip().upper())
        if number is not None:
            return max(number, 1)
    elif type(level) is int and level >= 0:  # no bool, and whatever else a configuration file may hold
        return max(level, 1)  # 0 would mean "as the root logger": who passes it wants to see everything
    raise ConfigError(f"there is no log level {level!r}: use one of {', '.join(_LEVELS)}, or a number from 0")


def _console_formatter(stream: TextIO | None, *, color: bool | None) -> EventFormatter:
    if color is None:
        target: TextIO | None = stream or sys.stderr
        color = target is not None and target.isatty() and not os.environ.get("NO_COLOR")
    renderer = structlog.dev.ConsoleRenderer(
        colors=color, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
    )

    def readable(logger: logging.Logger, method: str, parts: dict[str, Any]) -> str:
        short, blocks = _apart(parts, but=_OWN_KEYS)
        return renderer(logger, method, short) + blocks

    return EventFormatter(readable, local_time=True)


def _json_formatter() -> EventFormatter:
    render = structlog.processors.JSONRenderer()

    def strict(logger: logging.Logger, method: str, parts: dict[str, Any]) -> str | bytes:
        return render(logger, method, {key: _strict(value) for key, value in parts.items()})

    return EventFormatter(strict, local_time=False)


def _strict(value: Any) -> Any:
    """JSON has no word for NaN and infinity; a reward may be either."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _apart(fields: dict[str, Any], but: Container[str] = ()) -> tuple[dict[str, Any], str]:
    """The fields that fit on a line, and the others as what follows it: texts of several lines, indented."""
    short = dict(fields)
    blocks: list[str] = []
    for key, value in fields.items():
        if isinstance(value, str) and "\n" in value and key not in but:
            del short[key]
            blocks.append(f"\n  {key}:" + "".join(f"\n    {line}" for line in value.splitlines()))
    return short, "".join(blocks)


def _text(value: object) -> str:
    return value if isinstance(value, str) and value and not any(map(str.isspace, value)) else repr(value)
