"""Errors as they cross a network: class, message and fields; on the other side the same class is raised.

```
RolloutNotFound("ro-1")  ──as_data──▶  {"type": "RolloutNotFound", "message": "there is …", "fields": {…}}
                         ◀─from_data─  and HTTP says 404, by STATUSES
```
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any, Final, TypedDict, cast

from pydantic import ValidationError
from pydantic_core import to_json

from lightning_actors import errors
from lightning_actors.error_text import text_of
from lightning_actors.errors import InvalidRequest, LightningError, StoreError

__all__ = ["STATUSES", "ErrorData", "as_data", "from_data", "is_foreseen", "may_pass", "status_of"]

STATUSES: Final[Mapping[type[Exception], int]] = {
    ValidationError: 422,
    errors.InvalidRequest: 422,
    errors.NotJson: 406,
    errors.AccessRefused: 401,
    errors.RolloutNotFound: 404,
    errors.AttemptNotFound: 404,
    errors.ResourcesNotFound: 404,
    errors.OperationUnavailable: 404,
    errors.InvalidTransition: 409,
    errors.RolloutNotEnded: 409,
    errors.NumberReused: 409,
    errors.ReplyForgotten: 409,
    errors.RunHeld: 409,
    errors.SpansEvicted: 410,
    errors.BoundExceeded: 413,
    errors.ActorError: 503,
    errors.StoreUnreachable: 503,
    errors.StoreClosed: 503,
    errors.StoreFileError: 503,
    errors.StoreNotWritten: 507,
    errors.StoreError: 503,
    ValueError: 400,
    TypeError: 400,
    Exception: 503,
}
"""The HTTP status of every error, by the nearest of its classes. A bound that another moment may lift is 429.

It is never 500: where a store cannot do what it was asked, for whatever reason, it says that, and which error it met.
"""

_PASSING: Final = (errors.ActorError, errors.StoreUnreachable, errors.StoreClosed)

_BUILT_IN: Final = frozenset({"ValueError", "TypeError", "RuntimeError", "LookupError", "KeyError", "TimeoutError"})
"""Errors of Python's own that come back as what they were: a store says them too."""


class ErrorData(TypedDict):
    """An error as JSON holds it."""

    type: str
    message: str
    fields: dict[str, Any]


def status_of(error: Exception) -> int:
    """The HTTP status that goes with an error."""
    return STATUSES[_nearest(error)]


def is_foreseen(error: Exception) -> bool:
    """Whether there is a status for this kind of error, rather than one for all that is left."""
    return _nearest(error) not in {StoreError, Exception}


def may_pass(error: Exception) -> bool:
    """Whether the same may be asked again at another moment with more success: the store is about to come back."""
    return isinstance(error, _PASSING)


def _nearest(error: Exception) -> type[Exception]:
    return next(kind for kind in type(error).__mro__ if kind in STATUSES)


def as_data(error: Exception) -> ErrorData:
    """An error as JSON holds it; a field that JSON cannot hold is left out."""
    if isinstance(error, ValidationError):
        wrong = [".".join(str(step) for step in one["loc"]) for one in error.errors(include_input=False)]
        error = InvalidRequest(str(error), fields=wrong)
    fields = {name: value for name, value in vars(error).items() if not name.startswith("_") and _is_json(value)}
    return {"type": type(error).__name__, "message": text_of(error), "fields": fields}


def from_data(data: Mapping[str, Any]) -> Exception:
    """The error that was written by `as_data`: of the same class where it is one of ours or of Python's own.

    Any other becomes a StoreError with the name of its class in the text.
    """
    name, message = str(data.get("type")), str(data.get("message"))
    fields: Any = data.get("fields")
    if name in _BUILT_IN:
        return cast("type[Exception]", getattr(builtins, name))(message)
    if name not in errors.__all__:
        return StoreError(f"{name}: {message}")
    kind: type[LightningError] = getattr(errors, name)
    given = cast("dict[str, Any]", fields) if isinstance(fields, dict) else {}
    return kind.rebuilt((message,), {name: _immutable(value) for name, value in given.items()})


def _immutable(value: Any) -> Any:
    return tuple(cast("list[Any]", value)) if isinstance(value, list) else value


def _is_json(value: object) -> bool:
    try:
        to_json(value)
    except ValueError:
        return False
    return True
