"""The error tree: as drawn, all public, and whole after pickling."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from lightning_actors import errors
from lightning_actors.errors import LightningError

MADE: list[LightningError] = [
    errors.LightningError("root"),
    errors.ActorError("bad", actor="a"),
    errors.ActorCrashed("bad", actor="a"),
    errors.ActorStopped("bad", actor="a"),
    errors.AskCircle("round", circle=["a", "b"]),
    errors.MailboxFull("full", actor="a"),
    errors.RestartLimitExceeded("often", actor="a"),
    errors.UnhandledMessage("what", actor="a"),
    errors.StoreError("bad"),
    errors.AccessRefused("no"),
    errors.AttemptNotFound("ro-1", "at-1"),
    errors.BoundExceeded("much", bound="page", allowed=3),
    errors.InvalidRequest("odd", fields=["mode"]),
    errors.OperationUnavailable("not there", operation="NextCompletion"),
    errors.StoreUnreachable("gone", address="http://localhost:4747"),
    errors.InvalidTransition("no", before="failed", after="running"),
    errors.NumberReused("client-1", 7, "DequeueRollout"),
    errors.NotJson("no", place="input"),
    errors.ReplyForgotten("client-1", 7),
    errors.ResourcesNotFound("rs-1"),
    errors.RolloutNotEnded("ro-1", "running"),
    errors.RolloutNotFound("ro-1"),
    errors.RunHeld("baseline", 3.5),
    errors.SpansEvicted("ro-1"),
    errors.StoreClosed("over"),
    errors.StoreFileError("bad", path="run.db"),
    errors.StoreDamaged("broken", path="run.db"),
    errors.StoreInUse("held", path="run.db", pid=7, host="here", since=1.5),
    errors.StoreNotWritten("full", path="run.db"),
    errors.StoreTooNew("new", path="run.db", version=9, known=1),
    errors.WrongLoop("other"),
    errors.RunnerError("bad", rollout_id="ro-1"),
    errors.AgentResultError("what", rollout_id="ro-1"),
    errors.MissingResource("none", wanted="llm", available=["a"], rollout_id="ro-1"),
    errors.RolloutCancelled("cut", rollout_id="ro-1"),
    errors.RolloutTimeout("late", rollout_id="ro-1", seconds=3.0),
    errors.RunnerNotReady("init", rollout_id=None),
    errors.ConfigError("bad"),
    errors.InvalidAgent("no"),
    errors.MissingExtra("jinja", extra="jinja"),
    errors.MissingPlaceholder("lacks 'a'", missing=["a"]),
    errors.NotLearning("left", rollout_id="ro-1", kept=True),
    errors.PortInUse("taken", host="127.0.0.1", port=4747),
]


def classes() -> dict[str, type[LightningError]]:
    return {
        name: member
        for name, member in vars(errors).items()
        if inspect.isclass(member) and issubclass(member, LightningError)
    }


def drawn() -> dict[str, tuple[str | None, str | None]]:
    """Each class of the picture: what it hangs below, and the built-in error that it also is."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    above: list[str] = []
    picture = (errors.__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]
    for line in picture.splitlines():
        branch, name, rest = re.fullmatch(r"([│├└─ ]*)(\w+)(.*)", line).groups()  # pyright: ignore[reportOptionalMemberAccess]  # every line of the picture is such
        depth = len(branch) // 4
        also = re.search(r"\(also (\w+)\)", rest)
        above[depth:] = [name]
        tree[name] = (above[depth - 1] if depth else None, also and also.group(1))
    return tree


def test_the_picture_shows_every_class_in_its_place() -> None:
    tree: dict[str, tuple[str | None, str | None]] = {}
    for name, member in classes().items():
        ours = next((base.__name__ for base in member.__bases__ if issubclass(base, LightningError)), None)
        other = next(
            (base.__name__ for base in member.__bases__ if not issubclass(base, LightningError) and ours), None
        )
        tree[name] = (ours, other)
    tree["ConfigError"] = ("LightningError", "ValueError")
    assert drawn() == tree


def test_all_names_are_public_and_sorted() -> None:
    assert sorted(classes()) == errors.__all__


def test_every_class_is_documented() -> None:
    assert all(member.__doc__ for member in classes().values())


def test_there_is_an_example_of_every_error() -> None:
    assert {type(error).__name__ for error in MADE} == set(classes())


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_an_error_is_whole_after_pickling(error: LightningError) -> None:
    error.add_note("rollout ro-1")
    twin = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert (twin.args, vars(twin)) == (error.args, vars(error))
    assert str(error)
    assert not str(error).startswith("'")


def test_an_error_says_what_it_speaks_of() -> None:
    circle = errors.AskCircle("round", circle=["a", "b"])
    assert (circle.actor, circle.circle) == ("a", ("a", "b"))
    missing = errors.AttemptNotFound("ro-1", "at-1")
    assert (missing.rollout_id, missing.attempt_id) == ("ro-1", "at-1")
    assert "ro-1" in str(missing)
    assert "at-1" in str(missing)
