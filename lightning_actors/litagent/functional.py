"""Agents made of functions: `@rollout`, `@llm_rollout` and `@prompt_rollout`."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast, overload

from lightning_actors.errors import InvalidAgent
from lightning_actors.injection import Function, Refuse, read_function, shown_signature, without_partials
from lightning_actors.litagent.base import LitAgent
from lightning_actors.litagent.wanted import Wanted, wants
from lightning_actors.log import get_logger
from lightning_actors.types import NamedResources, Rollout, RolloutRawResult

__all__ = ["FunctionalLitAgent", "llm_rollout", "prompt_rollout", "rollout"]

T_contra = TypeVar("T_contra", contravariant=True)
T1 = TypeVar("T1")
T2 = TypeVar("T2")
P = ParamSpec("P")
P2 = ParamSpec("P2")
R_co = TypeVar("R_co", bound=RolloutRawResult | Awaitable[RolloutRawResult], covariant=True)

log = get_logger("lightning_actors.litagent")


class FunctionalLitAgent(LitAgent[T_contra], Generic[T_contra, P, R_co]):
    """An agent made of a function; calling it calls the function, with its own signature.

    A method decorated in its class is bound like a method: ``suite.answer`` is an agent that knows its ``suite``.

    Args:
        rollout_func: The function: its first parameter is the task, the others are given by name.
        strip_proxy: Whether a ProxyLLM is handed over as a plain LLM whose address belongs to the attempt.

    Raises:
        InvalidAgent: The function cannot be an agent; the message shows a form that can.
    """

    __wrapped__: Callable[Concatenate[T_contra, P], R_co]
    __name__: str
    __qualname__: str

    def __init__(self, rollout_func: Callable[Concatenate[T_contra, P], R_co], *, strip_proxy: bool = True) -> None:
        super().__init__()
        functools.update_wrapper(self, without_partials(rollout_func), updated=())
        self.__wrapped__ = rollout_func
        self._strip_proxy = strip_proxy
        self._warned: set[str] = set()
        self._function, self._is_method = _read(rollout_func)
        self._task, self._wants = wants(self._function, _refusal(self._function))
        self.__name__ = self._function.name
        self.__qualname__ = getattr(self, "__qualname__", self.__name__)

    def __call__(self, task: T_contra, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function itself, past the runner: nothing is injected, traced or stored."""
        return self.__wrapped__(task, *args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(
        self: FunctionalLitAgent[T1, Concatenate[T2, P2], R_co], instance: T1, owner: type[Any]
    ) -> FunctionalLitAgent[T2, P2, R_co]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any]) -> Self: ...
    def __get__(self, instance: object | None, owner: type[Any]) -> Any:
        """The agent itself; where a method was decorated, an agent of the bound method."""
        if instance is None or not self._is_method:
            return self
        bound = cast("Any", self.__wrapped__).__get__(instance, owner)
        return FunctionalLitAgent(bound, strip_proxy=self._strip_proxy)

    def is_async(self) -> bool:
        """Whether the function is ``async def``."""
        return self._function.is_async

    def rollout(self, task: T_contra, resources: NamedResources, rollout: Rollout) -> RolloutRawResult:
        """Call a plain function with the task and what it wants.

        Raises:
            MissingResource: The function wants a resource that is not there.
            InvalidAgent: The function is async, or returned something to await.
        """
        if self._function.is_async:
            raise InvalidAgent(f"{self.__name__} is `async def`: await rollout_async(task, resources, rollout)")
        result: Any = self._function.invoke(self._values(task, resources, rollout))
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()  # it is never run, which Python would warn of
            raise InvalidAgent(
                f"{self.__name__} is not `async def`, but what it returned has to be awaited: "
                f"decorate an `async def` that awaits it"
            )
        return result

    async def rollout_async(self, task: T_contra, resources: NamedResources, rollout: Rollout) -> RolloutRawResult:
        """Call an async function with the task and what it wants.

        Raises:
            MissingResource: The function wants a resource that is not there.
            InvalidAgent: The function is not async.
        """
        if not self._function.is_async:
            raise InvalidAgent(f"{self.__name__} is not `async def`: call rollout(task, resources, rollout)")
        return await self._function.invoke(self._values(task, resources, rollout))

    def wants(self, name: str) -> bool:
        """Whether the function wants a resource as the parameter of this name."""
        return any(wanted.name == name for wanted in self._wants)

    def _values(self, task: Any, resources: NamedResources, rollout: Rollout) -> dict[str, Any]:
        if self._is_method:
            raise InvalidAgent(
                f"{self.__qualname__} is a method: run the agent of an object, as in "
                f"{self.__qualname__.rpartition('.')[0]}(...).{self.__name__}"
            )
        values: dict[str, Any] = {"resources": resources, "rollout": rollout, self._task: task}
        for wanted in self._wants:
            names = wanted.find(resources)
            if names:
                if len(names) > 1:
                    self._warn_of_several(wanted, names)
                values[wanted.name] = wanted.prepare(resources[names[0]], rollout, strip_proxy=self._strip_proxy)
            elif wanted.required:
                raise wanted.missing(self.__name__, map(str, self._wants), resources, rollout)
        return values

    def _warn_of_several(self, wanted: Wanted, names: list[str]) -> None:
        if wanted.name in self._warned:
            return
        self._warned.add(wanted.name)
        log.warning(
            "several_resources_would_do",
            agent=self.__name__,
            parameter=str(wanted),
            taken=names[0],
            others=names[1:],
            hint=f"name one of them {wanted.name!r}, or name the parameter after the resource and annotate it",
        )

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle by reference where the module still knows the agent by this name, else by its function."""
        found: Any = sys.modules.get(self.__module__)
        for part in self.__qualname__.split("."):
            found = getattr(found, part, None)
        return self.__qualname__ if found is self else (_rebuild, (self.__wrapped__, self._strip_proxy))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {shown_signature(self._function)}>"


@overload
def rollout(
    func: Callable[Concatenate[T_contra, P], R_co], *, strip_proxy: bool = True
) -> FunctionalLitAgent[T_contra, P, R_co]: ...
@overload
def rollout(
    func: None = None, *, strip_proxy: bool = True
) -> Callable[[Callable[Concatenate[T2, P2], R_co]], FunctionalLitAgent[T2, P2, R_co]]: ...
def rollout(func: Any = None, *, strip_proxy: bool = True) -> Any:
    """Make an agent of a function.

    Its first parameter is the task, under any name. Parameters named ``llm``, ``prompt_template``, ``resources`` and
    ``rollout`` are given by name; so is one that is annotated with a kind of Resource, from the resource of its own
    name. Any other parameter needs a default.

    Args:
        func: The function, sync or async; what it returns is what `LitAgent.rollout` returns.
        strip_proxy: Whether a ProxyLLM is handed over as a plain LLM whose address belongs to the attempt.

    Returns:
        The agent, which can still be called like the function.

    Raises:
        InvalidAgent: The function cannot be an agent; the message shows a form that can.
    """
    return _decorate(func, strip_proxy=strip_proxy, must_want=None)


@overload
def llm_rollout(
    func: Callable[Concatenate[T_contra, P], R_co], *, strip_proxy: bool = True
) -> FunctionalLitAgent[T_contra, P, R_co]: ...
@overload
def llm_rollout(
    func: None = None, *, strip_proxy: bool = True
) -> Callable[[Callable[Concatenate[T2, P2], R_co]], FunctionalLitAgent[T2, P2, R_co]]: ...
def llm_rollout(func: Any = None, *, strip_proxy: bool = True) -> Any:
    """Make an agent of a function that has a parameter ``llm``; otherwise as `rollout`."""
    return _decorate(func, strip_proxy=strip_proxy, must_want="llm")


@overload
def prompt_rollout(func: Callable[Concatenate[T_contra, P], R_co]) -> FunctionalLitAgent[T_contra, P, R_co]: ...
@overload
def prompt_rollout(
    func: None = None,
) -> Callable[[Callable[Concatenate[T2, P2], R_co]], FunctionalLitAgent[T2, P2, R_co]]: ...
def prompt_rollout(func: Any = None) -> Any:
    """Make an agent of a function that has a parameter ``prompt_template``; otherwise as `rollout`."""
    return _decorate(func, strip_proxy=True, must_want="prompt_template")


def _decorate(func: Callable[..., Any] | None, *, strip_proxy: bool, must_want: str | None) -> Any:
    if func is None:
        return functools.partial(_decorate, strip_proxy=strip_proxy, must_want=must_want)
    agent: FunctionalLitAgent[Any, Any, Any] = FunctionalLitAgent(func, strip_proxy=strip_proxy)
    if must_want is not None and not agent.wants(must_want):
        raise _cannot(f"{agent.__name__} has no parameter {must_want!r}", name=agent.__name__, example=must_want)
    return agent


def _read(func: Callable[..., Any]) -> tuple[Function, bool]:
    """The function without ``self``, and whether it had one because it stands in a class body."""
    if isinstance(func, LitAgent):
        raise InvalidAgent(f"{func!r} is an agent already: decorate the function itself, once")
    function = read_function(func, _cannot)
    where, _, _ = getattr(func, "__qualname__", "").rpartition(".")
    in_class = inspect.isfunction(func) and where and not where.endswith("<locals>")
    if not in_class or not function.parameters or function.parameters[0].name != "self":
        return function, False
    return dataclasses.replace(function, parameters=function.parameters[1:]), True


def _refusal(function: Function) -> Refuse:
    shown = f"`{shown_signature(function)}` cannot be an agent"
    return lambda reason: _cannot(f"{shown}: {reason}", name=function.name)


def _cannot(reason: str, *, name: str = "agent", example: str = "llm") -> InvalidAgent:
    name = name if name.isidentifier() else "agent"
    return InvalidAgent(
        f"{reason}. Write it like this:\n\n"
        f"    @rollout\n"
        f"    async def {name}(task, {example}): ...\n\n"
        f"The first parameter is the task, under any name. llm, prompt_template, resources and rollout are given by "
        f"name, a parameter annotated with a kind of Resource is given the resource of its own name, and any other "
        f"parameter needs a default. Or write a class with LitAgent as its base."
    )


def _rebuild(func: Callable[..., Any], strip_proxy: bool) -> Any:  # noqa: FBT001 - pickle passes by position
    return FunctionalLitAgent(func, strip_proxy=strip_proxy)
