"""Processes of the tests' own: started, listened to, and always ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import lightning_actors

__all__ = ["Child", "Children", "children"]

_SECONDS = 45.0


class Child:
    """A Python process, and what it has said so far on stdout and stderr.

    Attributes:
        process: The process.
        lines: What it said.
    """

    def __init__(self, arguments: Sequence[str], cwd: Path | None, environment: dict[str, str]) -> None:
        self.arguments = list(arguments)
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(  # noqa: S603 - our own programs
            [sys.executable, "-u", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            env=environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as said:
            for line in said:
                with self._changed:
                    self.lines.append(line.rstrip())
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def until_says(self, words: str, times: int = 1, seconds: float = _SECONDS) -> str:
        """Wait until it has said this so often; returns the line."""

        def said() -> list[str]:
            return [line for line in self.lines if words in line]

        with self._changed:
            done = self._changed.wait_for(lambda: len(said()) >= times or not self._reader.is_alive(), timeout=seconds)
            assert done, f"{self.arguments} did not say {words!r} within {seconds} s, but {self.lines}"
            assert len(said()) >= times, f"{self.arguments} ended without saying {words!r}, with {self.lines}"
            return said()[-1]

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it; whatever it was about to do or say is lost."""
        self.process.kill()
        self.process.wait()

    def ended(self) -> int:
        """Wait until it has ended by itself, and what it says has come; returns its exit code."""
        try:
            code = self.process.wait(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.arguments} has not ended after {_SECONDS} s: {self.lines}") from None
        self._reader.join()
        return code


class Children:
    """The processes of one test."""

    def __init__(self) -> None:
        self._all: list[Child] = []

    def start(
        self, *arguments: str, cwd: Path | None = None, environment: Mapping[str, str] = MappingProxyType({})
    ) -> Child:
        """Start ``python`` with these arguments, and the package that these tests run against."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "OTEL_"))}
        package = str(Path(lightning_actors.__file__).parents[1])
        child = Child(arguments, cwd, {**kept, "PYTHONPATH": package, "PYTHONWARNINGS": "default", **environment})
        self._all.append(child)
        return child

    def command(
        self, *arguments: str, cwd: Path | None = None, environment: Mapping[str, str] = MappingProxyType({})
    ) -> Child:
        """Start ``lightning-actors`` with these arguments."""
        return self.start("-m", "lightning_actors", *arguments, cwd=cwd, environment=environment)

    def end(self) -> None:
        """End them all."""
        for child in self._all:
            child.kill()


@contextmanager
def children() -> Generator[Children]:
    """Processes that are ended with the block."""
    started = Children()
    try:
        yield started
    finally:
        started.end()
