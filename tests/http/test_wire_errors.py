"""Errors that crossed a network: the class, the message and the fields that they had."""

from __future__ import annotations

import inspect
import json

import pytest
from pydantic import ValidationError

from lightning_actors import errors
from lightning_actors.errors import InvalidRequest, LightningError, StoreError
from lightning_actors.http.wire_errors import STATUSES, as_data, from_data, status_of
from lightning_actors.store.messages import EnqueueRollout

OURS: list[LightningError] = [
    errors.RolloutNotFound("ro-1"),
    errors.AttemptNotFound("ro-1", "at-1"),
    errors.InvalidTransition("no", before="failed", after="running"),
    errors.BoundExceeded("much", bound="page", allowed=3),
    errors.AskCircle("round", circle=["a", "b"]),
    errors.StoreUnreachable("gone", address="http://x"),
    errors.PortInUse("taken", host="::1", port=1),
    errors.MissingPlaceholder("lacks", missing=["a"]),
    errors.StoreError("bad"),
]


@pytest.mark.parametrize("error", OURS, ids=lambda error: type(error).__name__)
def test_an_error_of_ours_comes_back_as_it_was(error: LightningError) -> None:
    twin = from_data(json.loads(json.dumps(as_data(error))))
    assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))


def test_every_error_of_ours_comes_back_as_its_class() -> None:
    for name in errors.__all__:
        assert type(from_data({"type": name, "message": "m", "fields": {}})).__name__ == name


@pytest.mark.parametrize("error", [ValueError("bad"), TypeError("odd"), KeyError("k"), TimeoutError("late")])
def test_pythons_own_errors_come_back_as_what_they_were(error: Exception) -> None:
    twin = from_data(as_data(error))
    assert (type(twin), twin.args[0]) == (type(error), str(error))


def test_an_error_that_only_the_server_knows_is_a_store_error_that_names_it() -> None:
    class DiskOnFire(Exception):
        """Of the user's store."""

    twin = from_data(as_data(DiskOnFire("ouch")))
    assert type(twin) is StoreError
    assert str(twin) == "DiskOnFire: ouch"


@pytest.mark.parametrize(
    "name", ["SystemExit", "KeyboardInterrupt", "eval", "annotations", "", "LightningError.__init__"]
)
def test_nothing_but_errors_is_made_of_what_a_server_sends(name: str) -> None:
    assert type(from_data({"type": name, "message": "m", "fields": []})) is StoreError


def test_a_bad_argument_names_its_fields() -> None:
    with pytest.raises(ValidationError) as caught:
        EnqueueRollout(1, mode="holiday")  # pyright: ignore[reportArgumentType]  # wrong on purpose
    twin = from_data(as_data(caught.value))
    assert isinstance(twin, InvalidRequest)
    assert twin.fields == ("mode",)


def test_what_json_cannot_hold_is_left_out_and_an_error_whose_text_raises_is_spoken_of() -> None:
    class Mute(Exception):
        """Its text cannot be had."""

        def __str__(self) -> str:
            raise RuntimeError

    error = Mute()
    error.handle = object()  # pyright: ignore[reportAttributeAccessIssue]  # whatever a user hangs on it
    data = as_data(error)
    assert data["fields"] == {}
    assert "Mute" in data["message"]


def test_every_store_error_has_a_status_of_its_own_kind() -> None:
    statuses = {
        name: status_of(kind.rebuilt(("m",), {}))
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, StoreError)
    }
    assert statuses == {
        "AccessRefused": 401,
        "AttemptNotFound": 404,
        "BoundExceeded": 413,
        "InvalidRequest": 422,
        "InvalidTransition": 409,
        "NotJson": 406,
        "NumberReused": 409,
        "OperationUnavailable": 404,
        "ReplyForgotten": 409,
        "ResourcesNotFound": 404,
        "RolloutNotEnded": 409,
        "RolloutNotFound": 404,
        "RunHeld": 409,
        "SpansEvicted": 410,
        "StoreClosed": 503,
        "StoreDamaged": 503,
        "StoreError": 503,
        "StoreFileError": 503,
        "StoreInUse": 503,
        "StoreNotWritten": 507,
        "StoreTooNew": 503,
        "StoreUnreachable": 503,
        "WrongLoop": 503,
    }
    assert status_of(errors.ActorStopped("gone")) == 503
    assert status_of(ValueError()) == 400
    assert status_of(ZeroDivisionError()) == STATUSES[Exception] == 503
    assert 500 not in STATUSES.values()
