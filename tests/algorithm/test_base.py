"""What every algorithm can be told and asked."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_actors.adapter import TraceToMessages
from lightning_actors.algorithm import Algorithm
from lightning_actors.errors import ConfigError
from lightning_actors.store.blocking import BlockingStore
from lightning_actors.store.memory import InMemoryLightningStore
from lightning_actors.types import Dataset, PromptTemplate

pytestmark = pytest.mark.anyio


class Async(Algorithm):
    def __init__(self) -> None:
        self.given: list[Any] = []  # super().__init__() is left out on purpose

    async def run(self, train_dataset: Dataset[Any] | None = None, val_dataset: Dataset[Any] | None = None) -> None:
        self.given += [train_dataset, val_dataset]


class Sync(Algorithm):
    def run(self, train_dataset: Dataset[Any] | None = None, val_dataset: Dataset[Any] | None = None) -> str:
        return f"{train_dataset} {val_dataset}"


class Trainer:
    """Anything that can be referred to weakly."""


async def test_async_run_is_awaited_and_sync_run_is_not() -> None:
    algorithm = Async()
    assert algorithm.is_async()
    await algorithm([1], [2])
    assert algorithm.given == [[1], [2]]
    assert not Sync().is_async()
    assert Sync()([1]) == "[1] None"


def test_an_algorithm_without_run_cannot_be_made() -> None:
    class Empty(Algorithm):
        pass

    with pytest.raises(TypeError, match="run"):
        Empty()  # pyright: ignore[reportAbstractUsage]  # that is what the test is about


def test_what_was_set_is_there_under_both_names() -> None:
    algorithm, store, adapter, proxy = Async(), InMemoryLightningStore(), TraceToMessages(), object()
    prompt = {"prompt": PromptTemplate(template="{task}", engine="f-string")}
    algorithm.set_store(store)
    algorithm.set_adapter(adapter)
    algorithm.set_llm_proxy(proxy)
    algorithm.set_initial_resources({**prompt})
    assert algorithm.store is algorithm.get_store() is store
    assert algorithm.adapter is algorithm.get_adapter() is adapter
    assert algorithm.llm_proxy is algorithm.get_llm_proxy() is proxy
    assert algorithm.initial_resources == algorithm.get_initial_resources() == prompt


@pytest.mark.parametrize("name", ["store", "adapter", "trainer", "blocking_store"])
def test_what_was_not_set_is_an_error_that_says_who_sets_it(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"Async has no {name.removeprefix('blocking_')}.*Trainer.*set_"):
        getattr(Async(), name)


def test_what_may_be_absent_is_none() -> None:
    assert Async().llm_proxy is None
    assert Async().initial_resources is None


def test_the_trainer_is_not_kept_alive() -> None:
    algorithm, trainer = Async(), Trainer()
    algorithm.set_trainer(trainer)
    assert algorithm.trainer is trainer
    del trainer
    with pytest.raises(ConfigError, match="is gone"):
        algorithm.get_trainer()


async def test_a_blocking_view_is_the_store_of_a_sync_run() -> None:
    algorithm, view = Sync(), BlockingStore(InMemoryLightningStore())
    algorithm.set_store(view)
    assert algorithm.blocking_store is view
    assert algorithm.get_store() is view


def test_an_awaited_store_is_no_blocking_store() -> None:
    algorithm = Sync()
    algorithm.set_store(InMemoryLightningStore())
    with pytest.raises(ConfigError, match="has to be awaited"):
        _ = algorithm.blocking_store
