"""Datasets in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from lightning_actors.errors import ConfigError
from lightning_actors.types import Dataset

__all__ = ["batch_iter_over_dataset"]

T = TypeVar("T")


def batch_iter_over_dataset(dataset: Dataset[T], batch_size: int) -> Iterator[list[T]]:
    """Go through a dataset once, in its order, some tasks at a time.

    Args:
        dataset: The tasks.
        batch_size: How many tasks a batch has, at least 1; the last one may have fewer.

    Returns:
        The batches, each read from the dataset when it is asked for.

    Raises:
        ConfigError: ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, not {batch_size!r}")
    return _batches(dataset, batch_size)


def _batches(dataset: Dataset[T], batch_size: int) -> Iterator[list[T]]:
    for start in range(0, len(dataset), batch_size):
        yield [dataset[index] for index in range(start, min(start + batch_size, len(dataset)))]
