"""Levels: what they are called, how they stand on a command line, and which of them we have set."""

from __future__ import annotations

import importlib.util
import logging
import pkgutil
from typing import Final

from lightning_actors.errors import ConfigError

__all__ = ["SetLevel", "level_number", "parse_levels"]

_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_PACKAGE: Final = __name__.partition(".")[0]


class SetLevel(int):
    """A level that was set up; it is taken back as long as nobody has set another.

    Attributes:
        owner: The name of the logger that was set up with it.
    """

    owner: str

    def __new__(cls, level: int, owner: str) -> SetLevel:  # noqa: PYI034 - it has no subclasses
        """A level of an owner."""
        made = super().__new__(cls, level)
        made.owner = owner
        return made


def level_number(level: int | str) -> int:
    """The number of a level, 1 or more.

    Raises:
        ConfigError: There is no such level.
    """
    if isinstance(level, str):
        number = logging.getLevelNamesMapping().get(level.strip().upper())
        if number is not None:
            return max(number, 1)
    elif type(level) is int and level >= 0:  # no bool, and whatever else a configuration file may hold
        return max(level, 1)  # 0 would mean "as the root logger": who passes it wants to see everything
    raise ConfigError(f"there is no log level {level!r}: use one of {', '.join(_LEVELS)}, or a number from 0")


def parse_levels(text: str) -> tuple[int | str, dict[str, int | str]]:
    """Levels as they are written on a command line: ``INFO,store=DEBUG,tracer=ERROR``.

    Args:
        text: Levels by name (any case) or number, separated by commas: that of everything, INFO if it is left out, and
            those of parts, as ``part=level``. ``lightning_actors.store`` may be written ``store``.

    Returns:
        ``level`` and ``submodule_levels`` of `configure_logger`.

    Raises:
        ConfigError: There is no such level or part, or one has two levels.
    """
    whole: int | str | None = None
    parts: dict[str, int | str] = {}
    for entry in text.split(","):
        name, is_part, written = (piece.strip() for piece in entry.rpartition("="))
        level: int | str = int(written) if written.isdecimal() else written
        if not entry.strip():
            raise ConfigError(f"there is an empty level in {text!r}: write them like INFO,store=DEBUG")
        level_number(level)
        if not is_part:
            if whole is not None:
                raise ConfigError(f"there are two levels for everything, {whole!r} and {level!r}: give one")
            whole = level
        elif _full_name(name) in parts:
            raise ConfigError(f"there are two levels for {name!r}: give one")
        else:
            parts[_full_name(name)] = level
    return "INFO" if whole is None else whole, parts


def _full_name(part: str) -> str:
    """The logger of a part of the package."""
    name = part.removeprefix(f"{_PACKAGE}.")
    package = importlib.util.find_spec(_PACKAGE)
    known = sorted(
        module.name for module in pkgutil.iter_modules(package.submodule_search_locations if package else ())
    )
    if name.partition(".")[0] not in known:
        raise ConfigError(f"there is no part {part!r}: write one of {', '.join(known)}, or a module below one")
    return f"{_PACKAGE}.{name}"
