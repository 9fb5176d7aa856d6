"""One measurement of one contender, in a process of its own: ``python -m benchmarks.worker CASE CONTENDER OPTIONS``.

The sample is the last line that it prints.
"""

from __future__ import annotations

import json
import logging
import sys

from benchmarks.case import Options
from benchmarks.registry import CASES

__all__ = ["main"]


def main(name: str, contender: str, options: str) -> None:
    """Measure, and print the sample.

    Args:
        name: The case.
        contender: ``ours`` or ``bare``.
        options: The options, as JSON.
    """
    logging.getLogger("lightning_actors").setLevel(logging.ERROR)  # that a loop has more to do than time is the point
    case = CASES[name]
    measure = {"ours": case.ours, "bare": case.bare}[contender]
    print(json.dumps(dict(measure(Options(**json.loads(options))))))


if __name__ == "__main__":
    main(*sys.argv[1:])
