"""Processes that a measurement needs beside its own: a store's server, a runner. Knows neither library."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Final

__all__ = ["beside", "serving"]

_PROJECT: Final = Path(__file__).parents[1]
_ADDRESS: Final = re.compile(r"https?://[\w.\-]+:\d+")


@contextlib.contextmanager
def beside(arguments: Sequence[str]) -> Generator[subprocess.Popen[str]]:
    """A Python process with these arguments, for the length of a block."""
    process = subprocess.Popen(  # noqa: S603 - our own modules
        [sys.executable, *arguments], cwd=_PROJECT, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextlib.contextmanager
def serving(arguments: Sequence[str]) -> Generator[str]:
    """The address at which such a process serves, as it says on its stdout.

    Raises:
        RuntimeError: It has ended without saying so.
    """
    with beside(arguments) as process:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        for line in process.stdout:
            found = _ADDRESS.search(line)
            if found is not None:
                yield found[0]
                return
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.wait()} and said no address")
