"""The tasks that a run is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import lightning_actors as agl


@agl.rollout
async def agent(task: Any) -> float:
    return 1.0


def trainer() -> agl.Trainer:
    return agl.Trainer(tracer=agl.DummyTracer(), algorithm=agl.Baseline())


@pytest.mark.parametrize(
    ("dataset", "kind"),
    [((task for task in "ab"), "generator"), (iter("ab"), "str_ascii_iterator"), (3, "int"), ({"a": 1}, "dict")],
)
def test_a_dataset_that_has_no_positions_is_refused_before_anything_begins(dataset: Any, kind: str) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: trainer().fit(agent, dataset),
        lambda: trainer().fit(agent, ["x"], val_dataset=dataset),
        lambda: trainer().dev(agent, dataset),
    ]
    for call in calls:
        with pytest.raises(
            TypeError, match=rf"(train|val)_dataset is an? .*{kind.split('_', maxsplit=1)[0]}.*: give the tasks as"
        ) as error:
            call()
        assert "list(" in str(error.value)


class Squares:
    """A dataset that is no list."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: Any) -> int:
        return index * index


def test_anything_with_a_length_and_positions_is_a_dataset() -> None:
    result = trainer().fit(agent, Squares())
    assert [rollout.input for rollout in result.rollouts] == [0, 1, 4]


class Lazy(Squares):
    """A dataset that cannot be read."""

    def __len__(self) -> int:
        raise OSError("no such file")


def test_a_dataset_whose_length_cannot_be_had_is_named() -> None:
    with pytest.raises(OSError, match="no such file") as caught:
        trainer().fit(agent, [1], val_dataset=Lazy())
    assert caught.value.__notes__ == ["raised by len() of val_dataset"]
