"""What a user's function asks for, and how it is called with it.

``@rollout`` and ``@algo`` give a function the things that its parameters name. Here is what both need: reading the
signature once, refusing what can never work, and calling with the values by name.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter
from types import SimpleNamespace
from typing import Any, Final, get_type_hints

__all__ = ["Function", "Refuse", "annotation_of", "has_value", "read_function", "shown_signature", "without_partials"]

Refuse = Callable[[str], Exception]
"""Makes the error for a function that cannot be used, from what is wrong with it."""

_UNNAMED: Final = frozenset({Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD})


@dataclass(frozen=True, slots=True)
class Function:
    """A user's function (or method, partial, callable object) as it was found.

    Attributes:
        call: The function itself.
        name: What to call it in messages.
        parameters: Its parameters in order, those of a bound method without ``self``; ``*args`` and ``**kwargs`` too.
        is_async: Whether calling it gives something to await.
        named: The parameters without ``*args`` and ``**kwargs``, which are given nothing.
    """

    call: Callable[..., Any]
    name: str
    parameters: tuple[Parameter, ...]
    is_async: bool
    named: tuple[Parameter, ...] = field(init=False)

    def __post_init__(self) -> None:
        named = tuple(parameter for parameter in self.parameters if parameter.kind not in _UNNAMED)
        object.__setattr__(self, "named", named)  # asked for at every call

    def invoke(self, values: Mapping[str, Any]) -> Any:
        """Call it with these values by parameter name; parameters without a value take their defaults."""
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for parameter in self.named:
            if parameter.kind is Parameter.POSITIONAL_ONLY:
                positional.append(values.get(parameter.name, parameter.default))
            elif parameter.name in values:
                keywords[parameter.name] = values[parameter.name]
        return self.call(*positional, **keywords)


def read_function(call: Callable[..., Any], refuse: Refuse) -> Function:
    """Look at a function once.

    Args:
        call: What the user decorated.
        refuse: Makes the error to raise.

    Returns:
        The function with its parameters.

    Raises:
        Exception: What ``refuse`` made: it is not callable, a class, a generator, or has no readable signature.
    """
    if isinstance(call, staticmethod):
        call = call.__func__
    if isinstance(call, type):
        raise refuse(f"{call.__name__} is a class, not a function")
    if not callable(call):
        raise refuse(f"{call!r} cannot be called")
    name, code = _name(call), _code(call)
    if inspect.isasyncgenfunction(code) or inspect.isgeneratorfunction(code):
        raise refuse(f"{name} contains `yield`: a generator has no result to return")
    try:
        parameters = tuple(inspect.signature(call).parameters.values())
    except (TypeError, ValueError) as error:
        raise refuse(f"the signature of {name} cannot be read ({error}): wrap it in a function of your own") from error
    return Function(call, name, parameters, inspect.iscoroutinefunction(code))


def annotation_of(function: Function, parameter: Parameter) -> Any:
    """What a parameter is annotated with, a quoted annotation resolved; ``Parameter.empty`` where it cannot be."""
    annotation = parameter.annotation
    if not isinstance(annotation, str):
        return annotation
    code = _code(function.call)
    names = getattr(inspect.unwrap(code), "__globals__", {})
    try:
        return get_type_hints(SimpleNamespace(__annotations__={"it": annotation}), names, include_extras=True)["it"]
    except Exception:  # noqa: BLE001 - the boundary to a user's annotation, which may be any expression
        return Parameter.empty


def has_value(parameter: Parameter) -> bool:
    """Whether the parameter may be left out."""
    return parameter.default is not Parameter.empty or parameter.kind in _UNNAMED


def shown_signature(function: Function) -> str:
    """The function as a line of code without annotations, as in ``async def answer(task, llm)``."""
    bare = [parameter.replace(annotation=Parameter.empty) for parameter in function.parameters]
    return f"{'async def' if function.is_async else 'def'} {function.name}{inspect.Signature(bare)}"


def without_partials(call: Callable[..., Any]) -> Callable[..., Any]:
    """What a functools.partial was made of; anything else as it is."""
    while isinstance(call, functools.partial):
        call = call.func
    return call


def _code(call: Callable[..., Any]) -> Callable[..., Any]:
    """The function that runs when this is called: inside partials, behind ``__call__``."""
    call = without_partials(call)
    return call if inspect.isroutine(call) else _code(type(call).__call__)


def _name(call: Callable[..., Any]) -> str:
    call = without_partials(call)
    return getattr(call, "__name__", None) or type(call).__name__
