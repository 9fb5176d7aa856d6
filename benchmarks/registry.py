"""All cases, in the order in which they are run and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.case import Case
from benchmarks.cases import (
    ask,
    dev,
    durable,
    file,
    idle,
    importing,
    in_flight,
    remote,
    runners,
    step,
    store,
    wake_up,
)

__all__ = ["CASES", "UnknownCase", "named"]

CASES: Final[Mapping[str, Case]] = {
    module.CASE.name: module.CASE
    for module in (ask, step, runners, in_flight, dev, store, durable, file, remote, wake_up, idle, importing)
}


class UnknownCase(ValueError):
    """There is no case of this name."""


def named(names: Sequence[str]) -> list[Case]:
    """The cases of these names, or all if there are none.

    Raises:
        UnknownCase: One of them is not there.
    """
    for name in names:
        if name not in CASES:
            raise UnknownCase(f"there is no case {name!r}: the cases are {', '.join(CASES)}")
    return [CASES[name] for name in dict.fromkeys(names)] if names else list(CASES.values())
