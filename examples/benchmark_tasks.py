"""What `benchmark_agent.py` is given: tasks and resources, from files that people write and programs mangle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from pydantic import TypeAdapter, ValidationError

import lightning_actors as agl

__all__ = ["Task", "digest_of", "read_resources", "read_tasks"]

_SHOWN: Final = 5
_DEEPEST: Final = 200
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Task:
    """One line of the tasks.

    Attributes:
        id: Its ``id`` if it is an object that has one, else the number of its line.
        value: The JSON value.
        digest: What equal values share, and others do not.
    """

    id: int | str
    value: Any
    digest: str


def read_tasks(path: Path) -> list[Task]:
    """The tasks of a file; empty lines are passed over.

    Raises:
        ValueError: There is no task, lines are not JSON, or ids are unusable; the message has their numbers.
        OSError: The file cannot be read.
    """
    tasks: dict[int | str, tuple[int, Task]] = {}
    problems: list[str] = []
    for number, line in enumerate(path.read_bytes().removeprefix(_BOM).split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            task = _read_task(number, line)
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
            continue
        if task.id in tasks:
            problems.append(f"{path}:{number}: its id {task.id!r} is that of line {tasks[task.id][0]} too")
        tasks.setdefault(task.id, (number, task))
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise ValueError("\n".join([*problems[:_SHOWN], *more]))
    if not tasks:
        raise ValueError(f"{path}: there is no task in it")
    return [task for _, task in tasks.values()]


def _read_task(number: int, line: bytes) -> Task:
    """One line. Raises ValueError."""
    value = _parsed(line)
    named = cast("dict[str, Any]", value).get("id", number) if isinstance(value, dict) else number
    if type(named) not in {int, str}:
        raise ValueError(f"its id is {json.dumps(named)}: give a string or a whole number, or none")
    try:
        str(named).encode()
    except UnicodeEncodeError:
        raise ValueError(f"its id is {json.dumps(named)}, which cannot be encoded: write whole characters") from None
    return Task(named, value, digest_of(value))


def _parsed(line: bytes) -> Any:
    """A JSON value that is not nested so deeply that those who get it could not walk through it. Raises ValueError."""
    too_deep = f"nested more than {_DEEPEST} deep"
    try:
        value: Any = json.loads(line.decode())
    except UnicodeDecodeError as error:
        byte, position = line[error.start], error.start + 1
        raise ValueError(f"not UTF-8 (byte 0x{byte:02x} at position {position}): save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not a JSON value ({error.msg} at column {error.colno}): write one value to a line") from None
    except RecursionError:
        raise ValueError(too_deep) from None
    inside = [value]
    for _ in range(_DEEPEST):
        inside = [each for outer in inside for each in _contents(outer)]
    if any(isinstance(each, dict | list) for each in inside):
        raise ValueError(too_deep)
    return value


def _contents(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value).values()
    return cast("list[Any]", value) if isinstance(value, list) else ()


def digest_of(value: Any) -> str:
    """What equal JSON values share, however they are written."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def read_resources(path: Path) -> tuple[agl.NamedResources, str]:
    """Resources by name from a file, and a digest of them.

    Raises:
        ValueError: There is something else in it.
        OSError: The file cannot be read.
    """
    adapter = TypeAdapter[agl.NamedResources](agl.NamedResources)
    try:
        resources = adapter.validate_json(path.read_bytes().removeprefix(_BOM))
    except ValidationError as error:
        raise ValueError(f"{path}: no resources by name: {error}") from None
    return resources, digest_of(adapter.dump_python(resources, mode="json"))
