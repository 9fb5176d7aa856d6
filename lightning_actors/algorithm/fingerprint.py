"""What tells one run of an algorithm from another: short digests of options, tasks and datasets.

They are the same in the next process, so that a run that was interrupted is found again.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from pydantic_core import to_json

from lightning_actors.types import Dataset

__all__ = ["digest", "digest_of_dataset", "name_of"]

_SAMPLES: Final = 16


def digest(*values: Any) -> str:
    """16 hex digits for some values: equal for what JSON cannot tell apart."""
    hashed = hashlib.sha256()
    for value in values:
        hashed.update(_written(value))
        hashed.update(b"\n")
    return hashed.hexdigest()[:16]


def name_of(algorithm: object) -> str:
    """What an algorithm's runs are called: its class, with its module."""
    return f"{type(algorithm).__module__}.{type(algorithm).__qualname__}"


def digest_of_dataset(dataset: Dataset[Any] | None) -> str:
    """16 hex digits for a dataset: its length and a few of its tasks, the first and the last among them.

    A task that cannot be read is passed over: its turn will come.
    """
    if dataset is None:
        return "none"
    length = len(dataset)
    places = sorted({place * (length - 1) // (_SAMPLES - 1) for place in range(_SAMPLES)}) if length else []
    return digest(length, *(_read(dataset, place) for place in places))


def _read(dataset: Dataset[Any], place: int) -> Any:
    try:
        return dataset[place]
    except Exception as error:  # noqa: BLE001 - boundary: the dataset is the user's; the algorithm raises this in its turn
        return f"raises {type(error).__name__}"


def _written(value: Any) -> bytes:
    try:
        return to_json(value, serialize_unknown=True, bytes_mode="base64", inf_nan_mode="constants")
    except ValueError:  # it holds itself, or is nested too deep; a store that writes JSON refuses it, and says so
        return type(value).__qualname__.encode()
