"""Events, and the loggers that log them."""

from __future__ import annotations

import logging
from collections.abc import Container
from typing import Any, Final

import structlog
from structlog.contextvars import merge_contextvars

__all__ = ["BoundLogger", "LogEvent", "get_logger", "long_texts_apart"]

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
        short, blocks = long_texts_apart(self.fields)
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


def get_logger(name: str = "lightning_actors", **fields: Any) -> BoundLogger:
    """A logger for events, over the standard library's logger of that name.

    Args:
        name: ``lightning_actors`` or a name below it, as in ``lightning_actors.runner``.
        **fields: Keys to bind to it from the start.

    Returns:
        The logger. Making one configures nothing.
    """
    return BoundLogger(logging.getLogger(name), (merge_contextvars,), fields)


def long_texts_apart(fields: dict[str, Any], but: Container[str] = ()) -> tuple[dict[str, Any], str]:
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
