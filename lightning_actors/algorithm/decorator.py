"""Algorithms made of functions: `@algo`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any, Final, Generic, ParamSpec, TypeVar

from lightning_actors.algorithm.base import Algorithm
from lightning_actors.errors import ConfigError
from lightning_actors.injection import (
    Function,
    Refuse,
    has_value,
    read_function,
    shown_signature,
    without_partials,
)
from lightning_actors.types import Dataset

__all__ = ["FunctionalAlgorithm", "algo"]

P = ParamSpec("P")
R = TypeVar("R")

_DATASETS: Final = ("train_dataset", "val_dataset")
_GETTERS: Final[Mapping[str, Callable[[Algorithm], Any]]] = {
    "store": Algorithm.get_store,
    "llm_proxy": Algorithm.get_llm_proxy,
    "adapter": Algorithm.get_adapter,
    "initial_resources": Algorithm.get_initial_resources,
}


class FunctionalAlgorithm(Algorithm, Generic[P, R]):
    """An algorithm made of a function; calling it calls the function, with its own signature.

    Args:
        algorithm_func: The function; see `algo` for what its parameters may be.

    Raises:
        ConfigError: The function cannot be an algorithm; the message shows a form that can.
    """

    __wrapped__: Callable[P, R]
    __name__: str

    def __init__(self, algorithm_func: Callable[P, R]) -> None:
        functools.update_wrapper(self, without_partials(algorithm_func), updated=())
        self.__wrapped__ = algorithm_func
        self._function = _checked(read_function(algorithm_func, _cannot))
        self.__name__ = self._function.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # pyright: ignore[reportIncompatibleMethodOverride]  # called by hand it is the function, as documented
        """Call the function itself; nothing is injected."""
        return self.__wrapped__(*args, **kwargs)

    def is_async(self) -> bool:
        """Whether the function is ``async def``."""
        return self._function.is_async

    def run(self, train_dataset: Dataset[Any] | None = None, val_dataset: Dataset[Any] | None = None) -> Any:
        """Call the function with what its parameters name.

        Args:
            train_dataset: The tasks to learn from; None if there are none.
            val_dataset: The tasks to measure by; None if there are none.

        Returns:
            What the function returns: something to await if it is async.

        Raises:
            TypeError: A dataset was given that the function has no parameter for.
            ConfigError: The function wants what was not set.
        """
        datasets: dict[str, Any] = {"train_dataset": train_dataset, "val_dataset": val_dataset}
        parameters = {parameter.name: parameter for parameter in self._function.named}
        for name, dataset in datasets.items():
            if dataset is not None and name not in parameters:
                raise TypeError(
                    f"{self.__name__} was given a {name}, but has no parameter of that name: add it to "
                    f"`{shown_signature(self._function)}`, or leave the dataset out"
                )
        values = {name: self._value(parameter, datasets) for name, parameter in parameters.items()}
        return self._function.invoke({name: value for name, value in values.items() if value is not Parameter.empty})

    def _value(self, parameter: Parameter, datasets: Mapping[str, Any]) -> Any:
        """What to give to a parameter; ``Parameter.empty`` to leave it at its default."""
        if parameter.name in datasets:
            dataset = datasets[parameter.name]
            return Parameter.empty if dataset is None and has_value(parameter) else dataset
        getter = _GETTERS.get(parameter.name)
        if getter is None:
            return Parameter.empty
        try:
            value = getter(self)
        except ConfigError:
            if not has_value(parameter):
                raise
            return Parameter.empty
        return Parameter.empty if value is None and has_value(parameter) else value

    def __repr__(self) -> str:
        return f"<FunctionalAlgorithm {shown_signature(self._function)}>"


def algo(func: Callable[P, R]) -> FunctionalAlgorithm[P, R]:
    """Make an algorithm of a function.

    Parameters named ``store``, ``train_dataset``, ``val_dataset``, ``llm_proxy``, ``adapter`` and ``initial_resources``
    are given by name, in any order. Any other parameter needs a default. A plain ``def`` runs in a thread and is given
    a `BlockingStore`.

    Args:
        func: The function, sync or async.

    Returns:
        The algorithm, which can still be called like the function.

    Raises:
        ConfigError: The function cannot be an algorithm; the message shows a form that can.
    """
    return FunctionalAlgorithm(func)


def _checked(function: Function) -> Function:
    refuse = _refusal(function)
    for parameter in function.named:
        if parameter.name not in _DATASETS and parameter.name not in _GETTERS and not has_value(parameter):
            raise refuse(f"nothing is known to give to its parameter {parameter.name!r}")
    return function


def _refusal(function: Function) -> Refuse:
    return lambda reason: _cannot(f"`{shown_signature(function)}` cannot be an algorithm: {reason}")


def _cannot(reason: str) -> ConfigError:
    return ConfigError(
        f"{reason}. Write it like this:\n\n"
        f"    @algo\n"
        f"    async def algorithm(*, store, train_dataset, val_dataset=None): ...\n\n"
        f"{', '.join((*_DATASETS, *_GETTERS))} are given by name, and any other parameter needs a default. "
        f"Or write a class with Algorithm as its base."
    )
