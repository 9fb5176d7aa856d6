"""Operations: a function or a block as one span, with what went in and what came out.

```
@operation                                   with operation(name="search") as op:
def search(query): ...                           op.set_input(query="…")
                                                 op.set_output(found)
```

The trace is looked up when the function is called, so that modules may be decorated at import.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar, cast, overload

from lightning_actors.attributes import flatten_attributes, sanitize_attributes
from lightning_actors.emitter.emission import open_trace, span_attributes
from lightning_actors.semconv import AGL_OPERATION, LightningSpanAttributes
from lightning_actors.tracer.recording import Recording
from lightning_actors.types import AttributeValue, SpanCoreFields

__all__ = ["OperationContext", "operation"]

P = ParamSpec("P")
R = TypeVar("R")

_NAME: Final = LightningSpanAttributes.OPERATION_NAME.value
_INPUT: Final = LightningSpanAttributes.OPERATION_INPUT.value
_OUTPUT: Final = LightningSpanAttributes.OPERATION_OUTPUT.value
_YIELDED: Final = "agentlightning.operation.yielded"
_ITEMS_KEPT: Final = 100


class OperationContext:
    """One operation as a ``with`` block, or a decorator that makes one of each call."""

    def __init__(self, *, propagate: bool, name: str | None, attributes: dict[str, Any]) -> None:
        self._propagate = propagate
        self._name = name
        self._attributes = span_attributes(attributes)
        self._recording: Recording | None = None
        self._exit = ExitStack()

    def __call__(self, fn: Callable[P, R]) -> Callable[P, R]:
        """Make an operation of each call of this function."""
        if not callable(fn):
            raise TypeError(
                f"operation decorates functions, got {fn!r}: give a name as name=..., "
                f"and put it below @classmethod and @staticmethod"
            )
        name = self._name or getattr(fn, "__name__", type(fn).__name__)
        return _decorated(fn, name, self._attributes, propagate=self._propagate)

    def __enter__(self) -> Self:
        if self._exit_pending:
            raise RuntimeError("this operation is under way already: call operation(...) again for each with block")
        self._recording = _begin(self._name, self._attributes, propagate=self._propagate)
        self._exit.enter_context(self._recording.until_end())
        self._exit.enter_context(self._recording.active())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, traceback)

    @property
    def _exit_pending(self) -> bool:
        return self._recording is not None and self._recording.get_recorded_span().end_time is None

    @property
    def _under_way(self) -> Recording:
        if self._recording is None:
            raise RuntimeError("this operation has not begun: use it in a with block")
        return self._recording

    def set_input(self, *args: Any, **kwargs: Any) -> None:
        """Record what goes in: positional values under ``args.N``, others by name."""
        for position, value in enumerate(args):
            self._under_way.record_attributes(_described(f"{_INPUT}.args.{position}", value))
        for name, value in kwargs.items():
            self._under_way.record_attributes(_described(f"{_INPUT}.{name}", value))

    def set_output(self, output: Any) -> None:
        """Record what comes out."""
        self._under_way.record_attributes(_described(_OUTPUT, output))

    def span(self) -> SpanCoreFields:
        """The operation as recorded so far."""
        return self._under_way.get_recorded_span()


@overload
def operation(fn: Callable[P, R], /, *, propagate: bool = True, name: str | None = None) -> Callable[P, R]: ...


@overload
def operation(
    fn: None = None, /, *, propagate: bool = True, name: str | None = None, **attributes: Any
) -> OperationContext: ...


def operation(
    fn: Callable[P, R] | None = None, /, *, propagate: bool = True, name: str | None = None, **attributes: Any
) -> Callable[P, R] | OperationContext:
    """Record a function's calls, or a ``with`` block, as spans with input and output.

    Functions may be sync, async, generators and async generators. An exception is recorded and raised on. What JSON
    cannot hold is recorded as its ``repr``; a method's ``self`` is left out, and so is an output of None. Of a
    generator the first 100 items are recorded, and how many there were.

    Args:
        fn: The function, when used as ``@operation``.
        propagate: Whether to add it to the current trace; False only describes it.
        name: What the operation is called; the function's name if it decorates one.
        **attributes: More to say about it.

    Raises:
        TypeError: An attribute cannot be written as JSON.
        ValueError: A key is not a non-empty string, or a value contains itself.
    """
    context = OperationContext(propagate=propagate, name=name, attributes=attributes)
    return context if fn is None else context(fn)


def _begin(name: str | None, attributes: dict[str, AttributeValue], *, propagate: bool) -> Recording:
    known = {**attributes, _NAME: name} if name else attributes
    trace = open_trace(AGL_OPERATION) if propagate else None
    if trace is None:
        return Recording(AGL_OPERATION, known, time.time())
    return trace.tracer.begin_operation(trace, AGL_OPERATION, known)


def _described(key: str, value: object) -> dict[str, AttributeValue]:
    """A value under a key, nested ones under keys below it; never fails."""
    try:
        flat = flatten_attributes({key: value})
    except ValueError:  # keys that are no strings, or a value that contains itself
        flat = {key: _text(value)}
    return sanitize_attributes(flat, fallback=_text)


def _text(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - boundary: a user's __repr__ may raise anything
        return f"<{type(value).__qualname__}, whose repr raises {type(error).__name__}>"


def _decorated(
    fn: Callable[P, R], name: str, attributes: dict[str, AttributeValue], *, propagate: bool
) -> Callable[P, R]:
    signature = inspect.signature(fn)

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recording:
        recording = _begin(name, attributes, propagate=propagate)
        for key, value in _inputs(signature, args, kwargs).items():
            recording.record_attributes(_described(f"{_INPUT}.{key}", value))
        return recording

    kind = next(wrap for is_kind, wrap in _KINDS if is_kind(fn))
    return cast("Callable[P, R]", functools.wraps(fn)(kind(fn, begin)))


def _inputs(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    try:
        bound = signature.bind(*args, **kwargs).arguments
    except TypeError:  # the call itself will say what is wrong
        return {}
    for position, (key, parameter) in enumerate(signature.parameters.items()):
        if position == 0 and key in {"self", "cls"}:
            bound.pop(key, None)
        elif parameter.kind is parameter.VAR_KEYWORD:
            bound.update(bound.pop(key, {}))
    return bound


_Begin = Callable[[tuple[Any, ...], dict[str, Any]], Recording]


def _keep_output(recording: Recording, output: object) -> None:
    if output is not None:
        recording.record_attributes(_described(_OUTPUT, output))


def _function(fn: Callable[..., Any], begin: _Begin) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        recording = begin(args, kwargs)
        with recording.until_end(), recording.active():
            output = fn(*args, **kwargs)
            _keep_output(recording, output)
            return output

    return call


def _coroutine(fn: Callable[..., Coroutine[Any, Any, Any]], begin: _Begin) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        recording = begin(args, kwargs)
        with recording.until_end(), recording.active():
            output = await fn(*args, **kwargs)
            _keep_output(recording, output)
            return output

    return call


class _Items:
    """What a generator has yielded."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._first: list[Any] = []
        self._count = 0

    def add(self, item: object) -> None:
        self._count += 1
        if len(self._first) < _ITEMS_KEPT:
            self._first.append(item)

    def keep(self) -> None:
        self._recording.record_attributes({_YIELDED: self._count, **_described(_OUTPUT, self._first)})


def _generator(fn: Callable[..., Generator[Any, Any, Any]], begin: _Begin) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        recording = begin(args, kwargs)
        items = _Items(recording)
        with recording.until_end():
            source = fn(*args, **kwargs)
            step: Callable[[], Any] = functools.partial(next, source)
            try:
                while True:
                    with recording.active():  # only while it runs: between its steps the caller's span is current
                        item = step()
                    items.add(item)
                    step = yield from _sent(item, source)
            except StopIteration as stop:
                return stop.value
            finally:
                with recording.active():
                    source.close()
                items.keep()

    return call


def _sent(item: Any, source: Generator[Any, Any, Any]) -> Generator[Any, Any, Callable[[], Any]]:
    """Yield an item; return the step that hands on what the caller sent or threw."""
    try:
        value = yield item
    except GeneratorExit:
        raise
    except BaseException as error:  # noqa: BLE001 - handed on to the wrapped generator, which raises it or not
        return functools.partial(source.throw, error)
    return functools.partial(source.send, value)


def _async_generator(fn: Callable[..., AsyncGenerator[Any, Any]], begin: _Begin) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        recording = begin(args, kwargs)
        items = _Items(recording)
        with recording.until_end():
            source = fn(*args, **kwargs)
            step: Callable[[], Any] = source.__anext__
            try:
                while True:
                    with recording.active():
                        item = await step()
                    items.add(item)
                    try:
                        value = yield item
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001 - handed on to the wrapped generator
                        step = functools.partial(source.athrow, error)
                    else:
                        step = functools.partial(source.asend, value)
            except StopAsyncIteration:
                return
            finally:
                with recording.active():
                    await source.aclose()
                items.keep()

    return call


_KINDS: Final[tuple[tuple[Callable[[Any], bool], Callable[[Any, _Begin], Callable[..., Any]]], ...]] = (
    (inspect.isasyncgenfunction, _async_generator),
    (inspect.isgeneratorfunction, _generator),
    (inspect.iscoroutinefunction, _coroutine),
    (callable, _function),
)
