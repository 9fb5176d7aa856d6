"""The command line: ``lightning-actors COMMAND``, also as ``python -m lightning_actors COMMAND``.

Each command is a file of this package that holds a function of the same name; `lightning_actors.cli.app` lists them. A
command imports what it needs when it runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import importlib
import sys

from lightning_actors.errors import LightningError, MissingExtra

__all__ = ["main"]

_USAGE_ERROR = 2


def main() -> None:
    """Run the command that the process was started with, and exit with its code.

    An error that this library raises on purpose is printed as a message, without a traceback; the exit code is then 2.
    """
    try:
        _need_typer()
        from lightning_actors.cli.app import app  # noqa: PLC0415 - belongs to an extra

        app(prog_name="lightning-actors")
    except LightningError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(_USAGE_ERROR)


def _need_typer() -> None:
    try:
        importlib.import_module("typer")
    except ImportError as error:
        raise MissingExtra("the command line", extra="cli") from error
