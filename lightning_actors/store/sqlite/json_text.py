"""Values as JSON in a column of text."""

from __future__ import annotations

from typing import Any

from lightning_actors.errors import NotJson
from lightning_actors.store.codec import dump, load

__all__ = ["json_text", "read_json"]


def json_text(kind: Any, value: object, name: str) -> str:
    """A value of this type as JSON.

    Raises:
        NotJson: JSON cannot hold it; ``name`` is what the whole of it is called.
    """
    try:
        return dump(kind, value).decode()
    except NotJson as error:
        step = error.place if error.place.startswith("[") else f".{error.place}" if error.place else ""
        raise NotJson(f"{name}{step}{str(error)[len(error.place or 'it') :]}", place=name + step) from None


def read_json(kind: Any, text: str) -> Any:
    """The value that `json_text` wrote."""
    return load(kind, text)
