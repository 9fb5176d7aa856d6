"""The table of an actor class: which method handles which message, checked when the class is made."""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, ForwardRef, TypeVar, Union, get_args, get_origin, get_type_hints

from lightning_actors.actors.message import Kind, Message, Reply

__all__ = ["Handler", "HandlerTable", "build_table"]


@dataclass(frozen=True, slots=True)
class Handler:
    """One handler: the function, how it runs, and whether it is plain and sync, as most are."""

    message: type[Message[Any]]
    name: str
    kind: Kind
    function: Callable[..., Any]
    is_async: bool
    is_simple: bool


class HandlerTable(dict[type[Any], Handler | None]):
    """Handlers by message type. A subclass of a handled message finds the handler of its nearest ancestor."""

    __slots__ = ()

    def __missing__(self, message: type[Any]) -> Handler | None:
        for ancestor in message.__mro__[1:]:
            handler = self.get(ancestor)
            if handler is not None:
                self[message] = handler
                return handler
        return None


def build_table(cls: type[Any], inherited: HandlerTable, required: Iterable[type[Message[Any]]]) -> HandlerTable:
    """Make the table of a class from its marked methods and those that it inherits.

    Raises:
        TypeError: A handler does not fit its message, or a required message has none.
    """
    table = HandlerTable()
    for message, handler in inherited.items():
        if handler is not None and handler.message is message:
            function = inspect.getattr_static(cls, handler.name)
            table[message] = handler if function is handler.function else _override(cls, handler, function)
    for name, function in vars(cls).items():
        for message, kind in getattr(function, "__handles__", ()):
            known = table.get(message)
            if known is not None and known.name != name:
                raise TypeError(
                    f"{cls.__name__} handles {message.__name__} twice, in {known.name} and in {name}: keep one of them"
                )
            table[message] = _check(cls, message, name, kind, function)
    missing = [message.__name__ for message in required if table[message] is None]
    if missing:
        raise TypeError(f"{cls.__name__} has no handler for {', '.join(missing)}: mark a method with @handles for each")
    return table


def _override(cls: type[Any], handler: Handler, function: Any) -> Handler:
    """A method that overrides a handler handles its message, marked again or not."""
    marks: tuple[tuple[type[Message[Any]], Kind], ...] = getattr(function, "__handles__", ())
    kind = handler.kind
    if marks:
        again = [marked_kind for message, marked_kind in marks if message is handler.message]
        if not again:
            raise TypeError(
                f"{cls.__name__}.{handler.name} overrides the handler of {handler.message.__name__} "
                f"but is marked for {marks[0][0].__name__}: give it a name of its own"
            )
        kind = again[0]
    return _check(cls, handler.message, handler.name, kind, function)


def _check(cls: type[Any], message: type[Message[Any]], name: str, kind: Kind, function: Any) -> Handler:
    where = f"{cls.__name__}.{name}"
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"{where} is to handle {message.__name__} and must be a method, not {function!r}")
    is_async = inspect.iscoroutinefunction(function)
    parameters = list(inspect.signature(function).parameters.values())
    wanted = 3 if kind is Kind.DEFERRED else 2
    if len([p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]) > wanted or (
        len(parameters) < wanted and not any(p.kind is p.VAR_POSITIONAL for p in parameters)
    ):
        form = "(self, message, reply)" if kind is Kind.DEFERRED else "(self, message)"
        raise TypeError(f"{where} handles {message.__name__} and must take {form}")
    if kind is Kind.CONCURRENT and not is_async:
        raise TypeError(f"{where} is concurrent and must be async: write async def {name}")
    _check_annotations(where, message, kind, function, [p.name for p in parameters])
    return Handler(message, name, kind, function, is_async, is_simple=kind is Kind.PLAIN and not is_async)


def _check_annotations(
    where: str, message: type[Message[Any]], kind: Kind, function: Any, parameters: list[str]
) -> None:
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError, AttributeError):  # names of a function's own scope, or written for the checker only
        return
    reply = message.reply_type()
    accepted = hints.get(parameters[1], Any) if len(parameters) > 1 else Any
    if not _fits(message, accepted):
        raise TypeError(f"{where} handles {message.__name__}, but its parameter is annotated {_show(accepted)}")
    if kind is Kind.DEFERRED:
        promised = hints.get(parameters[2], Any) if len(parameters) > 2 else Any  # noqa: PLR2004  # self, message, reply
        if get_origin(promised) is Reply and not _fits(get_args(promised)[0], reply):
            raise TypeError(
                f"{where} answers {message.__name__}, whose reply is {_show(reply)}, with {_show(promised)}"
            )
    elif not _fits(_awaited(hints.get("return", Any)), reply):
        raise TypeError(
            f"{where} returns {_show(hints['return'])}, but the reply to {message.__name__} is {_show(reply)}"
        )


def _awaited(annotation: Any) -> Any:
    origin = get_origin(annotation)
    if origin in {Awaitable, Coroutine}:
        return get_args(annotation)[-1]
    return annotation


def _fits(given: Any, wanted: Any) -> bool:
    """Whether a type can stand where another is wanted. What cannot be told at run time is left to the checker."""
    given, wanted = (type(None) if kind is None else kind for kind in (given, wanted))
    if given == wanted or _is_open(given) or _is_open(wanted):
        return True
    if get_origin(given) in {Union, types.UnionType}:
        return all(_fits(part, wanted) for part in get_args(given))
    if get_origin(wanted) in {Union, types.UnionType}:
        return any(_fits(given, part) for part in get_args(wanted))
    given_class, wanted_class = get_origin(given) or given, get_origin(wanted) or wanted
    if not (isinstance(given_class, type) and isinstance(wanted_class, type)):
        return True
    promoted = {float: (float, int), complex: (complex, float, int)}.get(wanted_class, (wanted_class,))
    return bool(getattr(wanted_class, "_is_protocol", False)) or issubclass(given_class, promoted)


def _is_open(annotation: Any) -> bool:
    return annotation is Any or isinstance(annotation, (TypeVar, str, ForwardRef))


def _show(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
