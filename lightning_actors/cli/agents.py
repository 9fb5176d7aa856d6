"""Agents by name: ``package.module:agent``, imported from the working directory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

from lightning_actors.components import build_component, find_component
from lightning_actors.errors import ConfigError
from lightning_actors.litagent import LitAgent

__all__ = ["import_from_here", "load_agent"]

_OPTION = "--agent"
_SHOWN = 12


def import_from_here() -> None:
    """Let imports find what stands in the working directory, as ``python -m`` does."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def load_agent(path: str) -> LitAgent[Any]:
    """The agent that an import path names: an object, or a class that is built without arguments.

    Raises:
        ConfigError: There is none; the message says what was found there.
    """
    try:
        found: Any = find_component(path, expected_type=LitAgent, spec_name=_OPTION)
    except ConfigError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            raise ConfigError(f"{error}. {_what_is_here()}") from error.__cause__
        raise
    if not isinstance(found, LitAgent | type) or (isinstance(found, type) and not issubclass(found, LitAgent)):
        raise ConfigError(
            f"{_OPTION}: {path!r} is {found!r:.100}, and no agent: write a function with @rollout, or subclass LitAgent"
        )
    built: LitAgent[Any] | None = build_component(cast("Any", found), expected_type=LitAgent, spec_name=_OPTION)
    if built is None:
        raise ConfigError(f"{_OPTION}: {path!r} gave no agent")
    return built


def _what_is_here() -> str:
    """The names that the working directory offers for import."""
    here = Path.cwd()
    modules = {path.stem for path in here.glob("*.py")}
    packages = {path.parent.name for path in here.glob("*/__init__.py")}
    names = sorted(name for name in modules | packages if name.isidentifier())
    if not names:
        return f"The working directory, {here}, has no Python files: start the command where the agent's file is"
    more = ", …" if len(names) > _SHOWN else ""
    return f"The working directory, {here}, has {', '.join(names[:_SHOWN])}{more}"
