"""The token that a server asks for and its clients show."""

from __future__ import annotations

import os
from typing import Final

from lightning_actors.errors import ConfigError

__all__ = ["TOKEN_VARIABLE", "token_or_environment"]

TOKEN_VARIABLE: Final = "LIGHTNING_ACTORS_TOKEN"  # noqa: S105 - where it is read from


def token_or_environment(token: str | None) -> str | None:
    """The token given, else that of the environment, else None.

    Raises:
        ConfigError: It has characters that no header can bear.
    """
    found = token if token is not None else os.environ.get(TOKEN_VARIABLE)
    if not found:
        return None
    if not found.isascii() or not found.isprintable() or " " in found:
        raise ConfigError("a token is made of printable ASCII characters without spaces: choose another")
    return found
