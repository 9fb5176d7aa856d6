"""Lines of a demonstration, as it goes on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TextIO

__all__ = ["Printer"]


@dataclass(slots=True)
class Printer:
    """Prints lines at once, and knows the time that has passed.

    Args:
        out: Where to print.
    """

    out: TextIO
    _began: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._began

    def line(self, text: str = "") -> None:
        """Print a line."""
        self.out.write(f"{text}\n")
        self.out.flush()
