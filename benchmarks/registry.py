"""All cases, in the order in which they are run and shown; each is imported when it is asked for.

So a process that measures one case holds what that case imports and no more: a full collection of the garbage
collector costs with everything that is imported, and would fall into whatever is measured just then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Final

from benchmarks.case import Case

__all__ = ["CASES", "UnknownCase", "named"]


class _Cases(Mapping[str, Case]):
    """Cases by name.

    Args:
        modules: The module of each, in ``benchmarks.cases``.
    """

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules

    def __getitem__(self, name: str) -> Case:
        case: Case = import_module(f"benchmarks.cases.{self._modules[name]}").CASE
        return case

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


_NAMED_AS_THEIR_MODULES: Final = (
    "ask",
    "step",
    "runners",
    "in_flight",
    "dev",
    "store",
    "durable",
    "file",
    "remote",
    "wake_up",
    "idle",
)
CASES: Final[Mapping[str, Case]] = _Cases({**{name: name for name in _NAMED_AS_THEIR_MODULES}, "import": "importing"})


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
