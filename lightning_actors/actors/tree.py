"""`ActorTree`: what actors are doing, as a tuple to look into and as a text to read.

```
store                     handling EnqueueRollout for 0.2 s, 3 of 64 in the mailbox
queue                     idle, 9,998 replies owed
runner-0 … runner-9999    9,998 idle, 2 busy
├─ runner-17              ro-…: agent for 12.1 s
└─ runner-4               ro-…: agent for 0.3 s
algorithm                 stopping, algorithm: running for 70.2 s
```
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from lightning_actors.actors.ref import ActorInfo, Restart

__all__ = ["ActorTree"]

_GROUPED: Final = 8
"""Siblings of one name but for its number are listed up to so many, and counted if there are more."""
_SHOWN_OF_GROUP: Final = 8
_SHOWN_HELD: Final = 3
_LONGEST_CAUSE: Final = 120
_BRANCHES: Final = ("├", "└", "│", " ")
_STATES: Final = {"running": "", "waiting": "waiting to be restarted"}


class _Row(NamedTuple):
    name: str
    text: str


class ActorTree(tuple[ActorInfo, ...]):
    """What actors are doing, in order of start. ``str()`` is a readable tree; many that are alike are counted in it."""

    __slots__ = ()

    def __str__(self) -> str:
        rows = list(_rows(self))
        width = max((len(row.name) for row in rows), default=0)
        return "\n".join(f"{row.name:<{width}}  {row.text}" for row in rows)


def _rows(infos: Sequence[ActorInfo]) -> Iterator[_Row]:
    for _, alike in groupby(infos, _stem):
        group = list(alike)
        if len(group) > _GROUPED:
            yield from _grouped(group)
        else:
            for info in group:
                yield _Row(info.name, _doing(info))
                yield from _below(list(_rows(info.children)))


def _stem(info: ActorInfo) -> str:
    """The name without a number at its end."""
    stem, dash, number = info.name.rpartition("-")
    return f"{stem}{dash}" if number.isdecimal() else info.name


def _below(rows: Sequence[_Row]) -> Iterator[_Row]:
    """The rows as branches of the one above them; those that are branches already go one deeper."""
    branches = [place for place, row in enumerate(rows) if not row.name.startswith(_BRANCHES)]
    for place, row in enumerate(rows):
        if place in branches:
            yield _Row(f"{'└─' if place == branches[-1] else '├─'} {row.name}", row.text)
        else:
            yield _Row(f"{' ' if place > branches[-1] else '│'}  {row.name}", row.text)


def _grouped(group: Sequence[ActorInfo]) -> Iterator[_Row]:
    counts = Counter(_kind(info) for info in group)
    text = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())
    restarts = [restart for info in group for restart in info.restarts]
    if restarts:
        text += f"; {_restarted(restarts)}"
    yield _Row(f"{group[0].name} … {group[-1].name}", text)
    active = sorted((info for info in group if _kind(info) != "idle"), key=_longest, reverse=True)
    rows = [_Row(info.name, _doing(info)) for info in active[:_SHOWN_OF_GROUP]]
    if len(active) > len(rows):
        rows.append(_Row(f"… {len(active) - len(rows):,} more", "none of them for longer"))
    yield from _below(rows)


def _kind(info: ActorInfo) -> str:
    if info.state != "running":
        return info.state
    return "busy" if info.handling or info.mailbox_depth or info.concurrent or info.holds else "idle"


def _longest(info: ActorInfo) -> float:
    return max(info.handling_seconds, info.oldest_concurrent_seconds, *(held.seconds for held in info.holds), 0.0)


def _doing(info: ActorInfo) -> str:
    parts = [_STATES.get(info.state, info.state)]
    if info.handling is not None:
        parts.append(f"handling {info.handling} for {info.handling_seconds:,.1f} s")
    parts += [f"{held.name}: {held.doing} for {held.seconds:,.1f} s" for held in info.holds[:_SHOWN_HELD]]
    if len(info.holds) > _SHOWN_HELD:
        parts.append(f"and {len(info.holds) - _SHOWN_HELD:,} more in hand")
    if info.concurrent:
        parts.append(f"{info.concurrent:,} in parallel, the oldest for {info.oldest_concurrent_seconds:,.1f} s")
    if _kind(info) == "idle":
        parts.append("idle")
    if info.mailbox_depth:
        parts.append(f"{info.mailbox_depth:,} of {info.mailbox_size:,} in the mailbox")
    if info.kept_replies:
        parts.append(f"{info.kept_replies:,} {'reply' if info.kept_replies == 1 else 'replies'} owed")
    if info.restarts:
        parts.append(_restarted(info.restarts))
    return ", ".join(part for part in parts if part)


def _restarted(restarts: Sequence[Restart]) -> str:
    count = f"{len(restarts):,} {'restart' if len(restarts) == 1 else 'restarts'}"
    cause = max(restarts, key=lambda restart: restart.when).cause
    if cause is None:
        return f"{count}, the last after it had ended"
    text = " ".join(f"{type(cause).__name__}: {cause}".split())
    return f"{count}, the last after {text if len(text) <= _LONGEST_CAUSE else f'{text[: _LONGEST_CAUSE - 1]}…'}"
