"""Fails a test in which something could not be delivered."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

from lightning_actors.actors import dead_letter
from lightning_actors.actors.dead_letter import DeadLetter

__all__ = ["DeadLetterBox", "no_dead_letters"]


class DeadLetterBox:
    """Keeps dead letters: ``Supervisor(dead_letters=box)``.

    Attributes:
        letters: What came, oldest first.
        logged: Those of supervisors that have no box and log theirs, one line each.
    """

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.logged: list[str] = []

    def __call__(self, letter: DeadLetter) -> None:
        """Take a dead letter."""
        self.letters.append(letter)

    @property
    def count(self) -> int:
        """How many there are of both kinds."""
        return len(self.letters) + len(self.logged)

    def __str__(self) -> str:
        lines = [
            f"{type(letter.message).__name__} for {letter.actor!r}: {letter.reason}"
            + ("" if letter.error is None else f", {letter.error!r}")
            for letter in self.letters
        ]
        return "\n".join((*lines, *self.logged))


class _Listener(logging.Handler):
    """Hears of dead letters that are logged, which is where they go when nobody asked for them."""

    def __init__(self, box: DeadLetterBox) -> None:
        super().__init__(logging.WARNING)
        self._box = box

    def emit(self, record: logging.LogRecord) -> None:
        self._box.logged.append(record.getMessage())


@contextmanager
def no_dead_letters() -> Generator[DeadLetterBox]:
    """Fail if anything could not be delivered while the block ran.

    ``with no_dead_letters() as bury: async with Supervisor(dead_letters=bury): ...`` tells most. Supervisors and hosted
    actors that were given nothing to call log their dead letters as warnings, and those are heard as well.

    Returns:
        What to give to a supervisor, or to look into.

    Raises:
        AssertionError: There were some; it lists them. Where the block raises its own error, a note on that does.
    """
    box = DeadLetterBox()
    logger, listener = logging.getLogger(dead_letter.__name__), _Listener(box)
    level = logger.level
    logger.addHandler(listener)
    if not logger.isEnabledFor(logging.WARNING):
        logger.setLevel(logging.WARNING)
    try:
        yield box
    except BaseException as error:
        if box.count:
            error.add_note(f"and {box.count} dead letters:\n{box}")
        raise
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
    if box.count:
        raise AssertionError(f"{box.count} dead letters:\n{box}")
