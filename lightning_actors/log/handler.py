"""Where lines go: a stream, a file, nowhere."""

from __future__ import annotations

import logging
import sys
from abc import abstractmethod
from os import PathLike
from pathlib import Path
from typing import TextIO

__all__ = ["EventHandler", "FileHandler", "NoHandler", "StreamHandler"]


class EventHandler(logging.Handler):
    """A handler of ours.

    Args:
        owner: The name of the logger that was set up with it.
        formatter: Makes the lines.
    """

    def __init__(self, owner: str, formatter: logging.Formatter | None = None) -> None:
        super().__init__()
        self.owner = owner
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            self.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - the boundary that logging prescribes: a log line never breaks its caller
            self.handleError(record)

    @abstractmethod
    def write(self, line: str) -> None:
        """Write a finished line; called by one thread at a time."""


class StreamHandler(EventHandler):
    """Writes to the stream it was given, else to whatever stderr is at the time."""

    def __init__(self, owner: str, formatter: logging.Formatter, stream: TextIO | None) -> None:
        super().__init__(owner, formatter)
        self._stream = stream

    def write(self, line: str) -> None:
        """Write a line and flush it."""
        stream: TextIO | None = self._stream or sys.stderr
        if stream is not None:  # a windowed program on Windows has no stderr
            stream.write(line)
            stream.flush()


class FileHandler(EventHandler):
    """Adds to a file, each line in one piece, so that several processes may share it.

    Raises:
        OSError: The file, or the directory it stands in, cannot be made or opened.
    """

    def __init__(self, owner: str, formatter: logging.Formatter, path: str | PathLike[str]) -> None:
        super().__init__(owner, formatter)
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        self._file = place.open("ab", buffering=0)

    def write(self, line: str) -> None:
        """Hand a line over to the operating system."""
        rest = line.encode("utf-8", "backslashreplace")
        while rest and not self._file.closed:
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Close the file."""
        self.acquire()
        try:
            self._file.close()
        finally:
            self.release()
        super().close()


class NoHandler(EventHandler):
    """Writes nothing; without any handler the standard library would print warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        """Do nothing."""
