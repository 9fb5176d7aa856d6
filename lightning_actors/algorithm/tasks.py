"""`task_at`: a task out of a dataset, which is the user's and may raise."""

from __future__ import annotations

from typing import TypeVar

from lightning_actors.error_text import note
from lightning_actors.types import Dataset

__all__ = ["task_at"]

T = TypeVar("T")


def task_at(dataset: Dataset[T], index: int, name: str) -> T:
    """Read a task.

    Args:
        dataset: The tasks.
        index: The position, from 0.
        name: What to call the dataset in a note, e.g. "train".

    Raises:
        BaseException: What the dataset raised, with a note that says where.
        RuntimeError: It raised StopIteration, which no coroutine and no generator lets out.
    """
    try:
        return dataset[index]
    except StopIteration as error:
        raise RuntimeError(f"the {name} dataset raised StopIteration at index {index}") from error
    except BaseException as error:
        note(error, f"raised by the {name} dataset at index {index}")
        raise
