"""The tasks that a run is given: looked at before it begins, and bounded for a dry run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, SupportsIndex, TypeVar

from lightning_actors.error_text import note, with_article
from lightning_actors.types import Dataset

__all__ = ["checked_dataset", "first_tasks"]

T = TypeVar("T")

_MOST_TASKS = 10


def checked_dataset(dataset: Dataset[T] | None, name: str) -> Dataset[T] | None:
    """The dataset, if it can be one.

    Args:
        dataset: What a caller gave, who may have no type checker.
        name: The name of the argument, for the message.

    Raises:
        TypeError: It has no length or cannot be indexed, or it is indexed by something else than a position.
        Exception: What its ``len()`` raised, with a note that names it.
    """
    if dataset is None:
        return None
    kind: Any = type(dataset)
    if isinstance(dataset, Mapping) or not (hasattr(kind, "__len__") and hasattr(kind, "__getitem__")):
        instead = "list(it.items()) or list(it.values())" if isinstance(dataset, Mapping) else "list(it)"
        raise TypeError(
            f"{name} is {with_article(kind.__name__)}: give the tasks as something with a length and positions from 0, "
            f"such as a list; {instead} may make one"
        )
    try:
        len(dataset)
    except Exception as error:
        note(error, f"raised by len() of {name}")
        raise
    return dataset


class _First(Generic[T]):
    """The first tasks of a dataset, which is read only as they are wanted."""

    def __init__(self, tasks: Dataset[T], count: int) -> None:
        self._tasks = tasks
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: SupportsIndex, /) -> T:
        if not 0 <= index.__index__() < self._count:
            raise IndexError(f"there are {self._count} tasks, and none at {index.__index__()}")
        return self._tasks[index]


def first_tasks(train: Dataset[T] | None, val: Dataset[T] | None) -> tuple[Dataset[T] | None, Dataset[T] | None]:
    """The first ten tasks of both datasets together; says so where there are more."""
    n_train, n_val = (0 if tasks is None else len(tasks) for tasks in (train, val))
    if n_train + n_val > _MOST_TASKS:
        print(f"dev runs the first {_MOST_TASKS} of {n_train + n_val} tasks; fit runs them all")  # noqa: T201 - dev prints
    some = min(n_train, _MOST_TASKS)
    more = min(n_val, _MOST_TASKS - some)
    return None if train is None else _First(train, some), None if val is None else _First(val, more)
