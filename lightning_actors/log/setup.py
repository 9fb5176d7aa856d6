"""Showing events: on a console, in files, each part at its own level."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Final, TextIO, TypeAlias, TypeVar

from lightning_actors.errors import ConfigError
from lightning_actors.log.event import BoundLogger, get_logger
from lightning_actors.log.formatter import EventFormatter, json_formatter, readable_formatter
from lightning_actors.log.handler import EventHandler, FileHandler, NoHandler, StreamHandler
from lightning_actors.log.levels import SetLevel, level_number

__all__ = ["configure_logger", "setup_logging"]

_ROOT_NAMES: Final = frozenset({"", "root"})
T = TypeVar("T")
_Path: TypeAlias = str | PathLike[str]


def configure_logger(
    level: int | str = "INFO",
    *,
    name: str = "lightning_actors",
    json: bool = False,
    color: bool | None = None,
    stream: TextIO | None = None,
    console: bool = True,
    files: _Path | Mapping[str, _Path] | None = None,
    submodule_levels: Mapping[str, int | str] | None = None,
) -> BoundLogger:
    """Show the library's events, in the same form in debug and in training runs.

    Calling it again replaces what the last call for this name set up, files and levels of parts included. The logger no
    longer passes its records on to the handlers of the root logger, so nothing is printed twice.

        configure_logger("WARNING", files="run.log", submodule_levels={"lightning_actors.store": "DEBUG"})

    Args:
        level: The least level that is shown, by name (any case) or number.
        name: The logger to set up; the default is that of the whole package.
        json: One JSON object a line, times in UTC, instead of readable lines in local time; in files too.
        color: Whether readable lines are coloured; None to do so on a terminal, unless ``NO_COLOR`` is set. Those in
            files never are.
        stream: Where lines go; None for stderr.
        console: Whether lines go to ``stream`` at all. Without it and without files nothing is shown.
        files: A file that gets every line too, or files by the name of the logger whose lines, and those of the loggers
            below it, they get. Directories are made as needed. Files are added to, a line at a time, so several
            processes may write to the same one.
        submodule_levels: Levels of parts by the name of their logger, such as ``lightning_actors.store``, which may
            show more than the rest or less.

    Returns:
        The logger of that name.

    Raises:
        ConfigError: There is no such level; ``name`` is that of the root logger; a part does not belong to ``name``; or
            a stream is given and the console is not wanted. Nothing has been changed then.
        OSError: A file cannot be opened. Nothing has been changed then, but files before it may have been made.
    """
    if name in _ROOT_NAMES:
        raise ConfigError(
            f"configure_logger does not set up the root logger (name={name!r}): it belongs to the application. "
            f"Leave name out for the library's own logger"
        )
    if stream is not None and not console:
        raise ConfigError("console=False shows nothing on a stream: leave stream out, or console")
    levels = {name: level_number(level)}
    levels |= {part: level_number(each) for part, each in _parts(name, "submodule_levels", submodule_levels)}
    of_files = [(name, files)] if isinstance(files, str | PathLike) else _parts(name, "files", files)
    handlers = _file_handlers(name, of_files, json=json)
    if console:
        handlers.append((name, StreamHandler(name, _console_formatter(stream, json=json, color=color), stream)))
    elif not any(part == name for part, _ in handlers):
        handlers.append((name, NoHandler(name)))
    _take_back(name)
    for part, number in levels.items():
        logging.getLogger(part).setLevel(SetLevel(number, name))
    for part, handler in handlers:
        logging.getLogger(part).addHandler(handler)
    logging.getLogger(name).propagate = False
    return get_logger(name)


setup_logging = configure_logger


def _parts(name: str, option: str, given: Mapping[str, T] | None) -> list[tuple[str, T]]:
    """What was given for each part of a logger. Raises ConfigError."""
    if given is not None and not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise ConfigError(f"{option} is {given!r}: give a dict by the names of loggers, such as {name + '.store'!r}")
    for part in given or ():
        if not isinstance(part, str) or not f"{part}.".startswith(f"{name}."):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise ConfigError(
                f"{option} names {part!r}, which is no part of {name}: write names in full, such as {name + '.store'!r}"
            )
    return [] if given is None else list(given.items())


def _file_handlers(owner: str, files: Iterable[tuple[str, _Path]], *, json: bool) -> list[tuple[str, EventHandler]]:
    """Open files, all or none. Raises OSError."""
    formatter = json_formatter() if json else readable_formatter(color=False, with_date=True)
    opened: list[tuple[str, EventHandler]] = []
    try:
        for part, path in files:
            opened.append((part, FileHandler(owner, formatter, path)))
    except BaseException:
        for _, handler in opened:
            handler.close()
        raise
    return opened


def _console_formatter(stream: TextIO | None, *, json: bool, color: bool | None) -> EventFormatter:
    if json:
        return json_formatter()
    if color is None:
        target: TextIO | None = stream or sys.stderr
        color = target is not None and target.isatty() and not os.environ.get("NO_COLOR")
    return readable_formatter(color=color, with_date=False)


def _take_back(name: str) -> None:
    """Undo what was set up for a name before, as far as nobody has changed it since."""
    made = logging.Logger.manager.loggerDict.items()
    for logger in [each for known, each in made if f"{known}.".startswith(f"{name}.")]:
        if not isinstance(logger, logging.Logger):
            continue  # the place of one that nobody has asked for yet
        for handler in [one for one in logger.handlers if isinstance(one, EventHandler) and one.owner == name]:
            logger.removeHandler(handler)
            handler.close()
        if isinstance(logger.level, SetLevel) and logger.level.owner == name:
            logger.setLevel(logging.NOTSET)
