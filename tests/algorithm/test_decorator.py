"""@algo: what a function is given, and which functions are refused."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from lightning_actors.algorithm import Algorithm, FunctionalAlgorithm, algo
from lightning_actors.errors import ConfigError
from lightning_actors.store.memory import InMemoryLightningStore
from lightning_actors.types import Dataset, PromptTemplate

pytestmark = pytest.mark.anyio


async def test_everything_is_injected_by_name_in_any_order() -> None:
    seen: dict[str, Any] = {}

    @algo
    async def everything(
        adapter: Any, val_dataset: Any, store: Any, initial_resources: Any, llm_proxy: Any, *, train_dataset: Any
    ) -> str:
        seen.update(locals())
        return "done"

    given: dict[str, Any] = {
        "adapter": object(),
        "store": InMemoryLightningStore(),
        "llm_proxy": object(),
        "initial_resources": {"prompt": PromptTemplate(template="", engine="f-string")},
    }
    for name, value in given.items():
        getattr(everything, f"set_{name}")(value)
    assert await everything.run([1], [2]) == "done"
    assert {name: seen[name] for name in given} == given
    assert (seen["train_dataset"], seen["val_dataset"]) == ([1], [2])


def test_a_sync_function_is_called_at_once() -> None:
    @algo
    def count(train_dataset: Dataset[int]) -> int:
        return len(train_dataset)

    assert not count.is_async()
    assert count.run([1, 2]) == 2


def test_it_is_an_algorithm_and_can_be_called_like_its_function() -> None:
    @algo
    def add(train_dataset: int, by: int = 1) -> int:
        """Add."""
        return train_dataset + by

    assert isinstance(add, Algorithm)
    assert isinstance(add, FunctionalAlgorithm)
    assert add(1, by=3) == 4
    assert (add.__name__, add.__doc__) == ("add", "Add.")
    assert repr(add) == "<FunctionalAlgorithm def add(train_dataset, by=1)>"


def test_a_parameter_with_a_default_keeps_it_where_nothing_was_set() -> None:
    @algo
    def lenient(adapter: str = "none", llm_proxy: str = "no", train_dataset: str = "empty", retries: int = 3) -> Any:
        return adapter, llm_proxy, train_dataset, retries

    assert lenient.run() == ("none", "no", "empty", 3)


def test_what_is_required_and_was_not_set_is_an_error_that_says_who_sets_it() -> None:
    @algo
    def needs_store(store: Any) -> None:
        del store

    with pytest.raises(ConfigError, match=r"has no store.*Trainer\(algorithm=\.\.\., store=\.\.\.\)"):
        needs_store.run()


def test_an_absent_dataset_or_proxy_is_none() -> None:
    @algo
    def optional(train_dataset: Any, llm_proxy: Any, initial_resources: Any) -> Any:
        return train_dataset, llm_proxy, initial_resources

    assert optional.run() == (None, None, None)


@pytest.mark.parametrize("datasets", [{"train_dataset": [1]}, {"val_dataset": [1]}])
def test_a_dataset_that_the_function_does_not_take_is_a_type_error(datasets: dict[str, Any]) -> None:
    @algo
    def none() -> None: ...

    with pytest.raises(TypeError, match=next(iter(datasets))):
        none.run(**datasets)


def test_star_parameters_are_given_nothing() -> None:
    @algo
    def stars(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    assert stars.run() == ((), {})
    with pytest.raises(TypeError, match="train_dataset"):
        stars.run([1])


def test_partials_methods_and_callable_objects_are_functions_too() -> None:
    class Counter:
        def count(self, train_dataset: list[int]) -> int:
            return len(train_dataset)

        __call__ = count

    def scaled(factor: int, train_dataset: list[int]) -> int:
        return factor * len(train_dataset)

    assert algo(Counter().count).run([1, 2]) == 2
    assert algo(Counter()).run([1, 2]) == 2
    assert algo(functools.partial(scaled, 3)).run([1, 2]) == 6


def wants_something_else(store: Any, model: Any) -> None:
    del store, model


async def yields(train_dataset: Any) -> AsyncIterator[Any]:
    yield train_dataset


@pytest.mark.parametrize(("func", "reason"), [(wants_something_else, "'model'"), (yields, "yield"), (dict, "class")])
def test_what_cannot_be_an_algorithm_is_refused_with_the_right_form(func: Callable[..., Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        algo(func)
    assert "    @algo\n    async def algorithm(*, store, train_dataset, val_dataset=None): ..." in str(caught.value)
